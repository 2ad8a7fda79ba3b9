"""The prior: it explains the next frame by motion, fits that explanation to the past, and adds what is new."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eon_utils.flow import aligned, box, double, restarted, share, solve, turned_round, warp
from eon_utils.models import rollout
from eon_utils.presets import device
from eon_utils.weights import fill, read_weights, write_weights

HABIT = (0.7, 0.05, 0.0, 0.0, 0.2)  # weights of the five guesses where the past says nothing
STEPS = (3, 1, 2)  # of least squares at the coarsest level, at those between, at the finest
WHOLE = 5.0  # how heavy the whole frame is in the fit, beside a place's own surroundings


class Explanation(NamedTuple):
    """What the network of a `Prior` makes of clips (N, T, 3, H, W); one entry a pixel of the frame to come."""

    frame: Tensor  # (N, 3, H, W), about [0, 1]: the masks' blend of the guesses, and what is new
    guesses: Tensor  # (N, G, 3, H, W): the last frame along each motion, the one before along the first, the last
    masks: Tensor  # (N, G, 1, H, W), sum 1
    new: Tensor  # (N, 3, H, W): what no guess explains
    flows: Tensor  # (N, candidates, 2, H, W), (dx, dy) in pixels: where in the last frame each pixel is read
    levels: list[tuple[Tensor, Tensor]]  # coarse to fine: flow, and its change from frame to frame
    states: list[Tensor]  # coarse to fine: what the decoder knows, (N, C, h, w)


class Prior(nn.Module):
    """Explains the next frame by motion; then asks the past how far such explanations can be trusted.

    **The network** is an encoder and a decoder with noisy skips. The decoder finds a motion from coarse to fine.
    At each level the last two frames are read along the motion so far; steps of least squares, smooth where the
    pictures say little, bring them closer (`lucas_kanade`); and a small network, the same at all but the finest
    level, corrects that motion. It sees the encoder's features along it, and says whose neighbour's motion each
    pixel shares. Untrained, this is classical coarse-to-fine flow. The last layers blend what several motions
    bring, and add what is new.

    **The fit** has no parameters to learn. The network also predicts the last frames given, where the answer is
    known. Five guesses (its frame; the frame before the last one, along the motion; its frame blurred; the frame
    before, not moved; the last one along the motion that least squares find alone) are fitted to what came, by
    ridge regression, locally and over the whole frame. A clip that stands still, flickers or moves unsteadily says
    so itself; and where the fit would have failed on the past (`trusted`), the network's frame or the last one
    counts for more.

    widths, hidden: channels of encoder and decoder, at the finest level and at the others. candidates: motions to
    choose from; 0 turns motion off: the frame is the last one and what is new. noise: standard deviation of the
    noise on the skips, which are tanh, in `train` mode. context: frames looked at, 2 to 5: three for the network,
    each further one is a frame of the past to fit. Clips are (N, T, 3, H, W) in [0, 1], T >= 2, H and W multiples
    of 16.
    """

    def __init__(
        self,
        widths: tuple[int, int] = (8, 16),
        hidden: tuple[int, int] = (16, 40),
        candidates: int = 2,
        noise: float = 0.1,
        context: int = 5,
    ) -> None:
        super().__init__()
        self.shape = {"widths": widths, "hidden": hidden, "candidates": candidates, "noise": noise}
        self.shape["context"] = context
        self.candidates, self.noise, self.context = candidates, noise, context
        fine, coarse = widths
        small, large = hidden
        self.encoder = nn.ModuleList(
            [conv(3, fine), nn.Sequential(conv(3, coarse), nn.GELU(), conv(coarse, coarse))]
        )
        self.narrow = nn.ModuleList([nn.Conv2d(large, small, 1), nn.Conv2d(large, 24, 1)])
        self.decoder = nn.ModuleList(
            [
                nn.Sequential(conv(small + 2 * (fine + 3) + 6, small), nn.GELU()),
                nn.Sequential(conv(24 + 3 * (coarse + 3) + 6, large), nn.GELU(), conv(large, large), nn.GELU()),
            ]
        )
        self.heads = nn.ModuleList(conv(n, 4 + 9) for n in hidden)
        guesses = candidates + 2 if candidates else 1
        self.others = conv(small, 2 * (candidates - 1)) if candidates > 1 else None
        self.last = nn.Sequential(
            conv(3 * guesses + small + 1, 24), nn.GELU(), conv(24, 24), nn.GELU(), conv(24, guesses + 4)
        )
        for layer in [*self.heads, self.last[-1]]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) in [0, 1] -> the next frame, fitted, (N, 3, H, W), about [0, 1], not clipped."""
        return self.fit(clips)[0]

    def explain(self, clips: Tensor) -> Explanation:
        """(N, T, 3, H, W) in [0, 1] -> the network's next frame and all that it is made of."""
        frames = torch.stack([clips[:, max(clips.shape[1] - k, 0)] for k in (3, 2, 1)], 1)
        return self._explain(frames, self._encode(frames))

    def fit(self, clips: Tensor) -> tuple[Tensor, Tensor, Explanation]:
        """The network's explanation, fitted to the past.

        (N, T, 3, H, W) in [0, 1] -> the next frame (N, 3, H, W); the weights of the five guesses (N, 5, H, W);
        the network's explanation.
        """
        frames = clips[:, -self.context :]
        length, count = frames.shape[1], len(frames)
        ends = list(range(length, 1, -1))[:3]  # the frame to come; up to two that came, from those before
        picked = [[max(end - k, 0) for k in (3, 2, 1)] for end in ends]
        trios = torch.cat([frames[:, at] for at in picked])
        pyramid = [torch.cat([level[:, at] for at in picked]) for level in self._encode(frames)]
        found = self._explain(trios, pyramid)
        last, before, (flow, change) = trios[:, 2], trios[:, 1], found.levels[-1]
        plain = self._motion(pyramid, learnt=False)[0][-1][0]
        guesses = [found.frame, warp(before, 2 * flow + change), box(found.frame, 1), before, warp(last, plain)]
        guesses, habit = torch.stack(guesses, 1) - last[:, None], frames.new_tensor(HABIT)
        weights = habit.view(1, -1, 1, 1).expand(count, -1, *frames.shape[-2:])
        if ends[1:]:
            came = torch.stack([frames[:, end] - frames[:, end - 1] for end in ends[1:]])
            weights = trusted(guesses[count:].detach().unflatten(0, (-1, count)), came, habit)
        frame = frames[:, -1] + (weights[:, :, None] * guesses[:count]).sum(1)
        return frame, weights, Explanation(*(_first(part, count) for part in found))

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
            made = torch.cat([made, rollout(lambda given: self.explain(given).frame, more, steps - 1)], 1)
        return made

    @torch.no_grad()
    def flow(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) -> (N, 2, H, W): where each pixel of the last frame goes, (dx, dy) in pixels a frame.

        The network says where each pixel of the next frame comes from; `turned_round` makes of that where the last
        frame's go. Shapes and errors as `predict`.
        """
        clips = self._checked(clips)
        return turned_round(self.explain(clips).levels[-1][0], clips[:, -1], clips[:, -2])

    @property
    def feature_info(self) -> list[dict[str, str | int]]:
        """Name, channels and stride of each map of `forward_features`, in timm's words."""
        fine, coarse = self.shape["hidden"]
        return [
            {"module": name, "num_chs": channels + 4, "reduction": stride}
            for name, channels, stride in (("fine", fine, 1), ("middle", coarse, 2), ("coarse", coarse, 4))
        ]

    def forward_features(self, clips: Tensor) -> dict[str, Tensor]:
        """(N, T, 3, H, W) -> name -> map (N, C, H / stride, W / stride), with gradients: see `feature_info`.

        What the decoder knows of the next frame; the last four channels are the motion and its change, in pixels
        of that map. Errors as `predict`.
        """
        found = self.explain(self._checked(clips))
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

    def _explain(self, frames: Tensor, pyramid: list[Tensor]) -> Explanation:
        """Three frames (N, 3, 3, H, W) and their features -> explanation."""
        last, before = frames[:, 2], frames[:, 1]
        levels, states = self._motion(pyramid)
        flow, change = levels[-1]
        flows, guesses = [flow], [last]
        if self.candidates:
            flows += [flow + other for other in self.others(states[-1]).split(2, 1)] if self.others else []
            guesses = [*(warp(last, f) for f in flows), warp(before, 2 * flow + change), last]
        match = (guesses[-2] - guesses[0]).square().mean(1, keepdim=True) if self.candidates else last[:, :1] * 0
        made = self.last(torch.cat([*guesses, states[-1], 10 * match], 1))
        bias = made.new_tensor([3.0] + [0.0] * (len(guesses) - 1))
        masks = (made[:, : len(guesses)] + bias[:, None, None]).softmax(1)[:, :, None]
        new = torch.sigmoid(made[:, -4:-3]) * made[:, -3:]
        stacked = torch.stack(guesses, 1)
        frame = (masks * stacked).sum(1) + new
        return Explanation(frame, stacked, masks, new, torch.stack(flows, 1), levels, states)

    def _encode(self, frames: Tensor) -> list[Tensor]:
        """(N, T, 3, H, W) -> fine to coarse: colours and features, (N, T, 3 + C, h, w)."""
        rgb, levels = frames.flatten(0, 1) - 0.5, []
        while len(levels) < 3 or (min(rgb.shape[-2:]) >= 16 and not any(side % 2 for side in rgb.shape[-2:])):
            rgb = F.avg_pool2d(rgb, 2) if levels else rgb
            skip = torch.tanh(self.encoder[min(len(levels), 1)](rgb))
            if self.training and self.noise:
                skip = skip + self.noise * torch.randn_like(skip)
            levels.append(torch.cat([rgb, skip], 1).unflatten(0, frames.shape[:2]))
        return levels

    def _motion(
        self, pyramid: list[Tensor], learnt: bool = True
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """Features of three frames -> coarse to fine: (flow, change), each (N, 2, h, w); states (N, C, h, w)."""
        states, levels = [], []
        flow = change = ties = pyramid[-1]  # replaced at once
        for level in range(len(pyramid) - 1, -1, -1):
            skips, own = pyramid[level], min(level, 1)  # one small network for all coarser levels
            rgb = skips[:, :, :3]
            if levels:  # each level answers for itself: gradients through many warps are wild
                flow, change = 2 * double(flow.detach()), 2 * double(change.detach())
                ties = F.interpolate(ties, scale_factor=2)
            else:
                flow, ties = (rgb.new_zeros(len(rgb), n, *rgb.shape[-2:]) for n in (2, 9))
                change = flow
            with torch.no_grad():
                if levels and level:
                    flow = restarted(rgb[:, 2], rgb[:, 1], flow, change)
                flow, step = aligned(rgb[:, 2], rgb[:, 1], flow, change, STEPS[min(len(levels), 1) + (level == 0)])
            if not learnt:  # least squares alone
                levels.append((flow, change))
                continue
            along = [warp(skips[:, 2], flow), warp(skips[:, 1], 2 * flow + change)]
            if level:  # the third frame is not worth its time at full size
                along.append(warp(skips[:, 0], 3 * (flow + change)))
            known = rgb.new_zeros(len(rgb), 24, *rgb.shape[-2:])
            if states:
                known = double(self.narrow[own](states[-1]))
            states.append(self.decoder[own](torch.cat([known, *along, 0.2 * flow, 0.2 * change, step], 1)))
            made = self.heads[own](states[-1])
            ties = ties + made[:, 4:]
            size = max(rgb.shape[-2:]) / 2  # faster is not seen
            flow = share(flow + made[:, :2], ties).clamp(-size, size)
            change = (change + made[:, 2:4]).clamp(-size, size)
            levels.append((flow, change))
        return levels, states


def _first(part: Tensor | list | tuple, count: int) -> Tensor | list | tuple:
    """The first `count` clips of a tensor, or of all tensors in a list."""
    return part[:count] if isinstance(part, Tensor) else type(part)(_first(each, count) for each in part)


def ridge(guesses: Tensor, came: Tensor, habit: Tensor) -> Tensor:
    """Ridge regression of what came, (L, N, 3, H, W), on guesses, (L, N, K, 3, H, W) -> weights (N, K, H, W).

    Towards `habit`, (K,). The sums run over L frames, three colours, windows of 20 pixels a side and, WHOLE times
    as heavy, the whole frame; all are differences from the frame before.
    """
    count = guesses.shape[2]
    parts = [*guesses.unbind(2), came]
    products = torch.stack([(a * b).mean(2) for a in parts[:-1] for b in parts], 2).sum(0)
    coarse = F.avg_pool2d(products, 4)
    sums = box(coarse, 2) + WHOLE * coarse.mean((2, 3), keepdim=True)
    sums = sums.permute(0, 2, 3, 1).unflatten(-1, (count, count + 1))
    gram, right = sums[..., :-1], sums[..., -1]
    pull = (1e-5 + 0.02 * gram.diagonal(dim1=-2, dim2=-1).mean(-1))[..., None]
    solved = solve(gram + pull[..., None] * torch.eye(count).to(gram), right + pull * habit)
    return F.interpolate(solved.permute(0, 3, 1, 2), size=came.shape[-2:], mode="bilinear", align_corners=False)


def trusted(guesses: Tensor, came: Tensor, habit: Tensor) -> Tensor:
    """`ridge`, mixed with the first guess alone and with none, as each would have done on the past.

    The fit is judged on each frame by weights from the other one. Each of the three counts by the inverse square
    of its error, the fit e times as much. Shapes as `ridge`.
    """
    weights = ridge(guesses, came, habit)
    if len(came) < 2:
        return weights
    first = torch.zeros_like(weights)
    first[:, 0] = 1
    tried = [ridge(guesses[1:], came[1:], habit), ridge(guesses[:1], came[:1], habit)]
    made = [(torch.stack(tried)[:, :, :, None] * guesses).sum(2), guesses[:, :, 0], torch.zeros_like(came)]
    errors = torch.stack([(part - came).square().mean((0, 2)) for part in made], 1)
    coarse = F.avg_pool2d(errors, 4)
    errors = 1e-5 + (box(coarse, 2) + WHOLE * coarse.mean((2, 3), keepdim=True)) / (1 + WHOLE)
    shares = (weights.new_tensor([1.0, 0.0, 0.0])[:, None, None] - 2 * errors.log()).softmax(1)
    shares = F.interpolate(shares, size=weights.shape[-2:], mode="bilinear", align_corners=False)
    return shares[:, :1] * weights + shares[:, 1:2] * first


def conv(given: int, made: int) -> nn.Conv2d:
    """3x3, same size."""
    return nn.Conv2d(given, made, 3, padding=1)


def load_prior(path: str | Path | None = None) -> Prior:
    """The shipped prior, or one of your own written by `save_prior`: in `eval` mode, without gradients.

    Raises ValueError if the file is missing, damaged, not a prior, or not the one that its model card names.
    """
    about, state = read_weights("prior", "prior", path)
    model = Prior(**about["model"])
    fill(model, state, Path(path).name if path else "prior.safetensors")
    return model.requires_grad_(False).eval().to(device())


def save_prior(model: Prior, path: str | Path, **about: object) -> str:
    """Write a prior's weights (float32: they are few), and what it takes to load them; returns the SHA-256."""
    return write_weights(model, Path(path), "prior", {"model": model.shape, **about}, torch.float32)
