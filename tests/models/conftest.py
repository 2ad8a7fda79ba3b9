"""What tests of the models share: the shipped prior, untrained ones, and clips."""

import pytest
import torch
import torch.nn.functional as F

import eon_utils as eon


@pytest.fixture(scope="session")
def prior():
    """The prior that ships."""
    return eon.load_prior()


@pytest.fixture(scope="session")
def untrained():
    """A prior as it is built, from its settings; always the same."""

    def build(**settings):
        torch.manual_seed(0)
        return eon.Prior(**settings).eval()

    return build


@pytest.fixture(scope="session")
def held_out():
    """Twelve held-out clips of seven frames of each source."""
    clips = {}
    for name, source in eon.SOURCES.items():
        clips[name] = source(12, 7, 64, seed=5, train=False).stack()
    return clips


@pytest.fixture(scope="session")
def moving():
    """A clip of a hundred soft blobs that move by (dx, dy) pixels a frame."""

    def blobs(dx, dy, frames=5, size=64):
        rng = torch.Generator().manual_seed(0)
        x, y = torch.rand(2, 100, 1, generator=rng) * (size + 20) - 10
        heights = torch.rand(100, generator=rng) - 0.5
        places = torch.arange(size) * 1.0
        clip = []
        for t in range(frames):
            across = (-(((places - x - t * dx) / 4) ** 2)).exp()  # (100, size)
            down = (-(((places - y - t * dy) / 4) ** 2)).exp()
            clip.append(0.5 + torch.einsum("k,ky,kx->yx", heights, down, across))
        clip = torch.stack(clip)[None, :, None].clamp(0, 1)
        return clip.expand(1, -1, 3, -1, -1).contiguous()

    return blobs


@pytest.fixture(scope="session")
def pyramid():
    """Frames (N, K, 3, H, W) in [0, 1] -> as the least squares take them, fine to coarse."""

    def halved(frames, levels=5):
        sizes = [frames - 0.5]
        for _ in range(levels - 1):
            smaller = F.avg_pool2d(sizes[-1].flatten(0, 1), 2)
            sizes.append(smaller.unflatten(0, frames.shape[:2]))
        return sizes

    return halved
