"""The prior: it predicts by motion, and asks the clip's own past how far to trust that."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.models.conv_autoencoder import rollout
from eon_utils.models.motion_net import (
    Motion,
    MotionNet,
    MotionNetConfig,
    MotionPrediction,
    least_squares_flow,
)
from eon_utils.models.online_fit import DEFAULT_WEIGHTS, leave_one_out_weights
from eon_utils.models.optical_flow import box_filter, invert_flow, warp
from eon_utils.models.weight_files import load_tensors, read_weights, write_weights

CLIP_AXES = 5  # (N, T, 3, H, W)
LEAST_FRAMES = 2
COLOURS = 3
MULTIPLE = 16  # of height and width
PREDICTED = 3  # frames, at most: the one to come, and two of the past


class OnlinePrediction(NamedTuple):
    """What a `Prior` predicts: the next frame, fitted to the clip's own past."""

    frame: Tensor  # (N, 3, H, W), about [0, 1]
    weights: Tensor  # (N, 5, H, W): of the five hypotheses
    motion: MotionPrediction  # the network's own prediction


class Prior(nn.Module):
    """Predicts the next frame by motion, then asks the past how far that can be trusted.

    **The network** (`MotionNet`) is an encoder and a decoder with noisy skips. The decoder finds a
    motion from coarse to fine. At each level the last two frames are read along the motion so far.
    Steps of least squares, smooth where the pictures say little, bring them closer
    (`lucas_kanade`). A small network, the same at all but the finest level, corrects that motion:
    it sees the encoder's features along it, and says whose neighbour's motion each pixel shares.
    Untrained, this is classical coarse-to-fine flow. The last layers blend what several motions
    bring, and add the residual.

    **The online fit** has no parameters to learn. The network also predicts the last frames given,
    where the answer is known. Five hypotheses are fitted to these answers by ridge regression,
    locally and over the whole frame (`ridge_weights`). They are: the network's frame; the frame
    before the last one, along the motion; the network's frame, blurred; the frame before, not
    moved; the last one along the motion that least squares find alone. A clip that stands still,
    flickers or moves unsteadily says so itself. Where the fit would have failed on the past, the
    network's frame or the last one counts for more (`leave_one_out_weights`).

    Clips are (N, T, 3, H, W), T >= 2, H and W multiples of 16: float in [0, 1], or uint8.

    Args:
        settings: of `MotionNetConfig`: widths, hidden, candidates, noise, context. Of `context`
            frames three are for the network; each further one is a frame of the past to fit.

    Examples:
        >>> Prior(noise=0.0).config.noise
        0.0
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.config = MotionNetConfig(**settings)
        self.net = MotionNet(self.config)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) in [0, 1] -> the next frame, fitted, (N, 3, H, W), about [0, 1]."""
        return self.predict_online(clips).frame

    def predict_motion(self, clips: Tensor) -> MotionPrediction:
        """(N, T, 3, H, W) in [0, 1] -> the network's next frame, and all that it is made of."""
        frames = [clips[:, index] for index in _three_before(clips.shape[1])]
        return self.net(torch.stack(frames, 1))

    def predict_online(self, clips: Tensor) -> OnlinePrediction:
        """(N, T, 3, H, W) in [0, 1] -> the next frame, fitted to the past, and its parts."""
        frames = clips[:, -self.config.context :]
        count = len(frames)
        ends = list(range(frames.shape[1], 1, -1))  # the frame to come, the last one, and so on
        ends = ends[:PREDICTED]  # P of them
        triples = _join_triples(frames, ends)  # (P * N, 3, 3, H, W)
        pyramid = [_join_triples(level, ends) for level in self.net.encode(frames)]
        motion = self.net.predict(triples, pyramid)
        hypotheses = _hypotheses(triples, pyramid, motion)  # (P * N, 5, 3, H, W)
        weights = _online_weights(frames, ends[1:], hypotheses[count:])  # (N, 5, H, W)
        difference = weights[:, :, None] * hypotheses[:count]  # (N, 5, 3, H, W)
        frame = frames[:, -1] + difference.sum(1)
        return OnlinePrediction(frame, weights, _first(motion, count))

    @torch.no_grad()
    def predict(self, clips: Tensor, steps: int | None = None) -> Tensor:
        """Predict the next frame, or several.

        Args:
            clips: (N, T, 3, H, W), T >= 2, H and W multiples of 16; float in [0, 1], or uint8.
            steps: how many frames, each predicted from those before it: the first with the fit, the
                others by the network alone, since what was predicted is no past to learn from.
                None: the next one.

        Returns:
            (N, 3, H, W) in [0, 1]; with `steps`, (N, steps, 3, H, W).

        Raises:
            ValueError: for another shape or type, or steps below 1.

        Examples:
            >>> prior = load_prior()
            >>> prior.predict(torch.rand(2, 5, 3, 32, 48)).shape
            torch.Size([2, 3, 32, 48])
            >>> prior.predict(torch.rand(2, 5, 3, 32, 48), steps=4).shape
            torch.Size([2, 4, 3, 32, 48])
        """
        clips = self._checked(clips)
        if steps is not None and steps < 1:
            raise ValueError(f"steps={steps!r} must be at least 1")
        frame = self(clips).clamp(0, 1)  # (N, 3, H, W)
        if steps is None:
            return frame
        frames = frame[:, None]
        if steps > 1:
            context = torch.cat([clips, frames], 1)
            further = rollout(lambda clips: self.predict_motion(clips).frame, context, steps - 1)
            frames = torch.cat([frames, further], 1)
        return frames

    @torch.no_grad()
    def flow(self, clips: Tensor) -> Tensor:
        """Where each pixel of the last frame goes.

        The network says where each pixel of the next frame comes from; `invert_flow` turns that.

        Args:
            clips: as `predict`.

        Returns:
            (N, 2, H, W), (dx, dy) in pixels a frame.

        Raises:
            ValueError: as `predict`.

        Examples:
            >>> load_prior().flow(torch.rand(2, 5, 3, 32, 48)).shape
            torch.Size([2, 2, 32, 48])
        """
        clips = self._checked(clips)
        motion = self.predict_motion(clips).levels[-1]
        return invert_flow(motion.flow, clips[:, -1], clips[:, -2])

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Name, channels and stride of each map of `forward_features`, in timm's words."""
        fine, coarse = self.config.hidden
        return [
            {"module": "fine", "num_chs": fine + 4, "reduction": 1},
            {"module": "middle", "num_chs": coarse + 4, "reduction": 2},
            {"module": "coarse", "num_chs": coarse + 4, "reduction": 4},
        ]

    def forward_features(self, clips: Tensor) -> dict[str, Tensor]:
        """What the decoder knows of the next frame, with gradients: see `feature_info`.

        Args:
            clips: as `predict`.

        Returns:
            Name -> map (N, C, H / stride, W / stride). The last four channels are flow and
            acceleration, in pixels of that map.

        Raises:
            ValueError: as `predict`.
        """
        prediction = self.predict_motion(self._checked(clips))
        states = prediction.states[::-1]  # from the finest on
        levels = prediction.levels[::-1]
        maps = {}
        for info, state, motion in zip(self.feature_info, states, levels, strict=False):
            maps[info["module"]] = torch.cat([state, *motion], 1)
        return maps

    @torch.no_grad()
    def features(self, clips: Tensor) -> Tensor:
        """One vector a clip, frozen: the same length for any T, H and W.

        Of each map of `forward_features`, the means over the frame's quarters, and the standard
        deviation over all of it.

        Args:
            clips: as `predict`.

        Returns:
            (N, D).

        Raises:
            ValueError: as `predict`.

        Examples:
            >>> load_prior().features(torch.rand(2, 5, 3, 32, 48)).shape
            torch.Size([2, 540])
        """
        vectors = []
        for features in self.forward_features(clips).values():
            quarters = F.adaptive_avg_pool2d(features, 2)  # (N, C, 2, 2)
            deviation = features.flatten(2).std(2)  # (N, C)
            vectors += [quarters.flatten(1), deviation]
        return torch.cat(vectors, 1)

    def _checked(self, clips: Tensor) -> Tensor:
        """The clips as the network takes them."""
        shape = tuple(clips.shape)
        fits = len(shape) == CLIP_AXES and shape[1] >= LEAST_FRAMES and shape[2] == COLOURS
        sides = shape[3:]
        if not fits or 0 in sides or any(side % MULTIPLE for side in sides):
            wanted = f"(N, T, 3, H, W) with T >= 2, H and W multiples of {MULTIPLE}"
            raise ValueError(f"the prior takes clips {wanted}, not {shape}")
        if clips.dtype == torch.uint8:
            clips = clips / 255
        if not clips.is_floating_point():
            wanted = "of float in [0, 1] or uint8"
            raise ValueError(f"the prior takes clips {wanted}, not {clips.dtype}")
        return clips.to(next(self.parameters()))


def _three_before(end: int) -> list[int]:
    """The three frames before frame `end`; where there are but two, the first one twice."""
    return [max(end - back, 0) for back in (3, 2, 1)]


def _join_triples(frames: Tensor, ends: list[int]) -> Tensor:
    """(N, T, C, H, W) -> the three frames before each of P ends, (P * N, 3, C, H, W)."""
    triples = [frames[:, _three_before(end)] for end in ends]
    return torch.cat(triples)


def _hypotheses(triples: Tensor, pyramid: list[Tensor], motion: MotionPrediction) -> Tensor:
    """What may follow each triple, as differences from its last frame, (N, 5, 3, H, W)."""
    _, before, last = triples.unbind(1)
    hypotheses = [
        motion.frame,
        warp(before, motion.levels[-1].over_two_frames),
        box_filter(motion.frame, 1),
        before,
        warp(last, least_squares_flow(pyramid)),
    ]
    return torch.stack(hypotheses, 1) - last[:, None]


def _online_weights(frames: Tensor, past: list[int], hypotheses: Tensor) -> Tensor:
    """Weights of the five hypotheses, (N, 5, H, W), by how they do on frames of the past.

    Args:
        frames: (N, T, 3, H, W).
        past: which of them are judged; none: the default weights.
        hypotheses: on these, (len(past) * N, 5, 3, H, W).
    """
    default = frames.new_tensor(DEFAULT_WEIGHTS)  # (5,)
    if not past:
        weights = default.view(1, -1, 1, 1)
        return weights.expand(len(frames), -1, *frames.shape[-2:])
    differences = [frames[:, end] - frames[:, end - 1] for end in past]
    target = torch.stack(differences)  # (L, N, 3, H, W)
    hypotheses = hypotheses.detach().unflatten(0, (len(past), len(frames)))
    return leave_one_out_weights(hypotheses, target, default)


def _first(motion: MotionPrediction, count: int) -> MotionPrediction:
    """A prediction for the first `count` clips alone."""
    return MotionPrediction(
        motion.frame[:count],
        motion.hypotheses[:count],
        motion.masks[:count],
        motion.residual[:count],
        motion.flows[:count],
        [Motion(flow[:count], acceleration[:count]) for flow, acceleration in motion.levels],
        [state[:count] for state in motion.states],
    )


def load_prior(path: str | Path | None = None) -> Prior:
    """The shipped prior, or one of your own: in `eval` mode, without gradients.

    Args:
        path: of a file that `save_prior` wrote; None: the shipped one.

    Raises:
        ValueError: if the file is missing, damaged, not a prior, or not the one that its model card
            names.

    Examples:
        >>> prior = load_prior()
        >>> prior.training
        False
    """
    weights = read_weights("prior", "prior", path)
    model = Prior(**weights.about["model"])
    load_tensors(model.net, weights)
    return model.requires_grad_(False).eval().to(device())


def save_prior(model: Prior, path: str | Path, **about: object) -> str:
    """Write a prior's weights, and what it takes to load them.

    Args:
        model: to save, in float32: its parameters are few.
        path: of the file.
        about: what else the file says of itself, as JSON.

    Returns:
        The file's SHA-256.
    """
    description = {"model": asdict(model.config), **about}
    return write_weights(model.net, path, "prior", description, torch.float32)
