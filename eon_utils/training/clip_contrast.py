"""What stays the same in a clip: a network learns it from telling clips apart."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from eon_utils.models.content_encoder import ContentEncoder
from eon_utils.training.processes import joint_rows, own_draws, own_rows

EMBEDDED = 64  # numbers by which frames are compared
HIDDEN = 256
QUEUE = 16384  # frames of earlier steps that are no match, at most
QUEUED_STEPS = 128  # those of so many steps
MOMENTUM = 0.99  # of the slow copy
TEMPERATURE = 0.1
TURN = 0.35  # radians: a view is turned by at most so much
ZOOM = 0.4  # likewise the logarithm of its scale
STRETCH = 0.25  # and of its width beside its height
SHEAR = 0.3
SHIFT = 0.3  # of half the frame's side
TINT = 0.2  # the logarithm of a colour's gain
DARKEST, BRIGHTEST = -0.5, 0.3  # the logarithm of the gain of all colours
LIFT = 0.1  # what is added to all colours
GRAIN = 0.05  # largest standard deviation of noise


class ClipContrast(nn.Module):
    """Which frame is of the same clip as this one? (MoCo: He et al. 2020, section 3.)

    Two frames of each clip are taken, each turned, scaled, shifted and lit at random. By what an
    encoder says of them, the second must be found among the others' and those of earlier steps. So
    it learns what the frames of a clip share: what is in them. Nobody says what that is.

    Several processes search among the frames of all of them, and draw by a clip's place in the
    joint batch: their loss is that of one process with the joint batch.

    Args:
        encoder: that is trained.
    """

    queue: Tensor
    filled: Tensor

    def __init__(self, encoder: ContentEncoder) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Linear(encoder.numbers, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, EMBEDDED)
        )
        # The second frames are described by a slow copy, so that those of earlier steps, which
        # it described too, stay comparable.
        self.slow_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.slow_head = copy.deepcopy(self.head).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(QUEUE, EMBEDDED))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def forward(self, encoder: ContentEncoder, clips: Tensor, step: int) -> Tensor:
        """The loss: cross-entropy of the choice. All processes of a training call it together.

        Args:
            encoder: that is trained.
            clips: of this process, (N, T, 3, H, W) in [0, 1], T >= 2.
            step: of the training; it decides about the frames and how they are changed.
        """
        rng = torch.Generator(clips.device).manual_seed(step)
        count, length = clips.shape[:2]
        order = own_draws(torch.rand, rng, count, length).argsort(1)
        rows = torch.arange(count, device=clips.device)
        frames = clips[rows[:, None], order[:, :2]]  # (N, 2, 3, H, W)
        first, second = (random_views(frames[:, side], rng) for side in range(2))
        query = F.normalize(self.head(encoder(first)).to(self.queue), dim=1)  # (N, 64)
        with torch.no_grad():
            self._follow(encoder)
            keys = self.slow_head(self.slow_encoder(second)).to(self.queue)
            keys = joint_rows(F.normalize(keys, dim=1))  # (W N, 64), of W processes
        with torch.autocast(clips.device.type, enabled=False):
            queued = min(int(self.filled), QUEUED_STEPS * len(keys))
            others = torch.cat([keys, self.queue[:queued]])
            likeness = query @ others.T / TEMPERATURE
        matches = own_rows(torch.arange(len(keys), device=clips.device))
        loss = F.cross_entropy(likeness, matches)
        self._keep(keys)
        return loss

    def _follow(self, encoder: ContentEncoder) -> None:
        """The slow copy follows what is trained."""
        follow = get_ema_multi_avg_fn(MOMENTUM)
        pairs = [(self.slow_encoder, encoder), (self.slow_head, self.head)]
        for slow, fast in pairs:
            now = [parameter.detach() for parameter in fast.parameters()]
            follow([*slow.parameters()], now, 0)

    def _keep(self, keys: Tensor) -> None:
        """The newest come first; the oldest fall out."""
        self.queue.copy_(torch.cat([keys, self.queue])[:QUEUE])
        self.filled += len(keys)
        self.filled.clamp_(max=QUEUE)


def random_views(frames: Tensor, rng: torch.Generator) -> Tensor:
    """Frames as they might be seen from elsewhere, in another light.

    Args:
        frames: of this process, (N, 3, H, W) in [0, 1].
        rng: decides how each is turned, scaled, stretched, sheared, shifted, lit and made grainy;
            of the frames' device, and in the same state in all processes.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    count = len(frames)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        share = own_draws(torch.rand, rng, count, *shape)
        return low + (high - low) * share

    angle = draw(-TURN, TURN)
    across = draw(-ZOOM, ZOOM).exp()
    down = across * draw(-STRETCH, STRETCH).exp()
    rotation = _rows(angle.cos(), -angle.sin(), angle.sin(), angle.cos())  # (N, 2, 2)
    scale = _rows(across, draw(-SHEAR, SHEAR), torch.zeros_like(across), down)
    shift = draw(-SHIFT, SHIFT, 2, 1)
    grid = F.affine_grid(
        torch.cat([rotation @ scale, shift], 2), list(frames.shape), align_corners=False
    )
    seen = F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
    gain = draw(DARKEST, BRIGHTEST, 1, 1, 1) + draw(-TINT, TINT, 3, 1, 1)
    seen = seen * gain.exp() + draw(-LIFT, LIFT, 1, 1, 1)
    noise = own_draws(torch.randn, rng, *frames.shape)
    seen = seen + draw(0, GRAIN, 1, 1, 1) * noise
    return seen.clamp(0, 1)


def _rows(*entries: Tensor) -> Tensor:
    """Four numbers (N,) as matrices (N, 2, 2)."""
    return torch.stack(entries, 1).unflatten(1, (2, 2))
