"""The prior: a network explains the next frame by motion, and the clip's own past says how far to trust it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.config import device
from eon_utils.models.conv_autoencoder import rollout
from eon_utils.models.motion_net import MotionNet, MotionNetConfig, MotionPrediction
from eon_utils.models.online_fit import DEFAULT_WEIGHTS, leave_one_out_weights
from eon_utils.models.optical_flow import box_filter, invert_flow, warp
from eon_utils.models.weight_files import fill, read_weights, write_weights


class OnlinePrediction(NamedTuple):
    """What a `Prior` makes of clips (N, T, 3, H, W)."""

    frame: Tensor  # (N, 3, H, W), about [0, 1]: the next frame
    weights: Tensor  # (N, 5, H, W): of the five hypotheses, fitted to the past
    motion: MotionPrediction  # the network's own prediction


class Prior(nn.Module):
    """Explains the next frame by motion; then asks the past how far such explanations can be trusted.

    **The network** is an encoder and a decoder with noisy skips. The decoder finds a motion from coarse to fine.
    At each level the last two frames are read along the motion so far; steps of least squares, smooth where the
    pictures say little, bring them closer (`lucas_kanade`); and a small network, the same at all but the finest
    level, corrects that motion. It sees the encoder's features along it, and says whose neighbour's motion each
    pixel shares. Untrained, this is classical coarse-to-fine flow. The last layers blend what several motions
    bring, and add what is new.

    **The fit** has no parameters to learn. The network also predicts the last frames given, where the answer is
    known. Five hypotheses (its frame; the frame before the last one, along the motion; its frame blurred; the frame
    before, not moved; the last one along the motion that least squares find alone) are fitted to what came, by
    ridge regression, locally and over the whole frame. A clip that stands still, flickers or moves unsteadily says
    so itself; and where the fit would have failed on the past (`leave_one_out_weights`), the network's frame or the last one
    counts for more.

    widths, hidden: channels of encoder and decoder, at the finest level and at the others. candidates: motions to
    choose from; 0 turns motion off: the frame is the last one and what is new. noise: standard deviation of the
    noise on the skips, which are tanh, in `train` mode. context: frames looked at, 2 to 5: three for the network,
    each further one is a frame of the past to fit. Clips are (N, T, 3, H, W) in [0, 1], T >= 2, H and W multiples
    of 16.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.config = MotionNetConfig(**settings)
        self.net = MotionNet(self.config)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) in [0, 1] -> the next frame, fitted, (N, 3, H, W), about [0, 1], not clipped."""
        return self.predict_online(clips).frame

    def predict_motion(self, clips: Tensor) -> MotionPrediction:
        """(N, T, 3, H, W) in [0, 1] -> the network's next frame and all that it is made of."""
        frames = torch.stack([clips[:, max(clips.shape[1] - k, 0)] for k in (3, 2, 1)], 1)
        return self.net(frames)

    def predict_online(self, clips: Tensor) -> OnlinePrediction:
        """The network's explanation, fitted to the past.

        (N, T, 3, H, W) in [0, 1] -> the next frame (N, 3, H, W); the weights of the five hypotheses (N, 5, H, W);
        the network's explanation.
        """
        frames = clips[:, -self.config.context :]
        length, count = frames.shape[1], len(frames)
        ends = list(range(length, 1, -1))[:3]  # the frame to come; up to two that came, from those before
        picked = [[max(end - k, 0) for k in (3, 2, 1)] for end in ends]
        trios = torch.cat([frames[:, at] for at in picked])
        pyramid = [torch.cat([level[:, at] for at in picked]) for level in self.net.encode(frames)]
        found = self.net.predict(trios, pyramid)
        last, before, (flow, change) = trios[:, 2], trios[:, 1], found.levels[-1]
        plain = self.net.estimate_motion(pyramid, learnt=False)[0][-1][0]
        hypotheses = [found.frame, warp(before, 2 * flow + change), box_filter(found.frame, 1), before, warp(last, plain)]
        hypotheses, default = torch.stack(hypotheses, 1) - last[:, None], frames.new_tensor(DEFAULT_WEIGHTS)
        weights = default.view(1, -1, 1, 1).expand(count, -1, *frames.shape[-2:])
        if ends[1:]:
            came = torch.stack([frames[:, end] - frames[:, end - 1] for end in ends[1:]])
            weights = leave_one_out_weights(hypotheses[count:].detach().unflatten(0, (-1, count)), came, default)
        frame = frames[:, -1] + (weights[:, :, None] * hypotheses[:count]).sum(1)
        motion = MotionPrediction(*(_first(part, count) for part in found))
        return OnlinePrediction(frame, weights, motion)

    @torch.no_grad()
    def predict(self, clips: Tensor, steps: int | None = None) -> Tensor:
        """(N, T, 3, H, W) in [0, 1], T >= 2, H and W multiples of 16 -> the next frame (N, 3, H, W) in [0, 1].

        With `steps`, so many frames, each predicted from those before it, (N, steps, 3, H, W): the first with the
        fit, the others by the network alone, since what was predicted is no past to learn from. Raises ValueError
        for another shape and for steps below 1.
        """
        clips = self._checked(clips)
        if steps is not None and steps < 1:
            raise ValueError(f"steps={steps!r} must be at least 1")
        made = self(clips).clamp(0, 1)
        if steps is None:
            return made
        made = made[:, None]
        if steps > 1:
            more = torch.cat([clips, made], 1)
            made = torch.cat([made, rollout(lambda given: self.predict_motion(given).frame, more, steps - 1)], 1)
        return made

    @torch.no_grad()
    def flow(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) -> (N, 2, H, W): where each pixel of the last frame goes, (dx, dy) in pixels a frame.

        The network says where each pixel of the next frame comes from; `invert_flow` makes of that where the last
        frame's go. Shapes and errors as `predict`.
        """
        clips = self._checked(clips)
        return invert_flow(self.predict_motion(clips).levels[-1][0], clips[:, -1], clips[:, -2])

    @property
    def feature_info(self) -> list[dict[str, str | int]]:
        """Name, channels and stride of each map of `forward_features`, in timm's words."""
        fine, coarse = self.config.hidden
        return [
            {"module": name, "num_chs": channels + 4, "reduction": stride}
            for name, channels, stride in (("fine", fine, 1), ("middle", coarse, 2), ("coarse", coarse, 4))
        ]

    def forward_features(self, clips: Tensor) -> dict[str, Tensor]:
        """(N, T, 3, H, W) -> name -> map (N, C, H / stride, W / stride), with gradients: see `feature_info`.

        What the decoder knows of the next frame; the last four channels are the motion and its change, in pixels
        of that map. Errors as `predict`.
        """
        found = self.predict_motion(self._checked(clips))
        levels = [torch.cat([state, *level], 1) for state, level in zip(found.states, found.levels, strict=True)]
        return dict(zip((info["module"] for info in self.feature_info), levels[::-1], strict=False))

    @torch.no_grad()
    def features(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) -> one vector a clip, (N, D): frozen, the same D for any T, H and W.

        Of each map of `forward_features`, the means over the frame's quarters, and the standard deviation over
        all of it. Shapes and errors as `predict`.
        """
        maps = self.forward_features(clips).values()
        parts = [(F.adaptive_avg_pool2d(part, 2).flatten(1), part.flatten(2).std(2)) for part in maps]
        return torch.cat([vector for pair in parts for vector in pair], 1)

    def _checked(self, clips: Tensor) -> Tensor:
        shape = tuple(clips.shape)
        if len(shape) != 5 or shape[1] < 2 or shape[2] != 3 or not all(s and s % 16 == 0 for s in shape[3:]):
            wanted = "(N, T, 3, H, W) with T >= 2, H and W multiples of 16"
            raise ValueError(f"the prior takes clips {wanted}, not {shape}")
        return clips.to(next(self.parameters()))


def _first(part: Tensor | list | tuple, count: int) -> Tensor | list | tuple:
    """The first `count` clips of a tensor, or of all tensors in a list."""
    return part[:count] if isinstance(part, Tensor) else type(part)(_first(each, count) for each in part)


def load_prior(path: str | Path | None = None) -> Prior:
    """The shipped prior, or one of your own written by `save_prior`: in `eval` mode, without gradients.

    Raises ValueError if the file is missing, damaged, not a prior, or not the one that its model card names.
    """
    about, state = read_weights("prior", "prior", path)
    model = Prior(**about["model"])
    fill(model.net, state, Path(path).name if path else "prior.safetensors")
    return model.requires_grad_(False).eval().to(device())


def save_prior(model: Prior, path: str | Path, **about: object) -> str:
    """Write a prior's weights (float32: they are few), and what it takes to load them; returns the SHA-256."""
    return write_weights(model.net, Path(path), "prior", {"model": asdict(model.config), **about}, torch.float32)
