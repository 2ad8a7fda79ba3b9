"""Classical flow between frames at any two times."""

import pytest
import torch

import eon_utils as eon
from eon_utils.models.coarse_to_fine import coarse_to_fine

NOW = 2  # frame of a clip of five that is at time 0
PAIRS = [(-1, -2), (-1, 1), (1, -1), (-1, 2)]


def error(velocity, dx, dy):
    """Its median length in the middle of the frame, in pixels for each step of time."""
    inner = velocity[0, :, 16:-16, 16:-16]
    return (inner - torch.tensor([dx, dy])[:, None, None]).norm(dim=0).median()


def two_frames(clip, times):
    frames = torch.stack([clip[:, NOW + time] for time in times], 1)
    return frames, torch.tensor([times]).float()


@pytest.mark.parametrize("times", PAIRS)
@pytest.mark.parametrize(("dx", "dy"), [(1.0, -0.5), (-2.5, 1.5), (0.0, 3.0)])
def test_motion_is_found_between_frames_at_any_two_times(moving, pyramid, times, dx, dy):
    frames, clock = two_frames(moving(dx, dy), times)
    velocities = coarse_to_fine(pyramid(frames), clock)
    assert [level.shape[-1] for level in velocities] == [64, 32, 16, 8, 4]
    assert error(velocities[0], dx, dy) < 0.25
    assert not velocities[0].requires_grad


@pytest.mark.parametrize("times", PAIRS)
def test_photographs_that_move_are_followed(pyramid, times):
    large = eon.photos((96, 96), ("astronaut",))
    clip = torch.stack([large[..., 16 - 2 * t : 80 - 2 * t, 16 + t : 80 + t] for t in range(5)], 1)
    frames, clock = two_frames(clip, times)
    assert error(coarse_to_fine(pyramid(frames), clock)[0], -1.0, 2.0) < 0.3


@pytest.mark.parametrize("times", [(-1, -2), (-1, 1)])
def test_a_change_of_light_is_no_motion(moving, pyramid, times):
    frames, clock = two_frames(moving(1.0, -0.5), times)
    frames[:, 1] += 0.15
    assert error(coarse_to_fine(pyramid(frames), clock)[0], 1.0, -0.5) < 0.25


def test_the_order_of_the_two_does_not_matter(moving, pyramid):
    frames, clock = two_frames(moving(1.5, -0.5), (-1, 1))
    one = coarse_to_fine(pyramid(frames), clock)[0]
    other = coarse_to_fine(pyramid(frames.flip(1)), clock.flip(1))[0]
    assert (one - other).abs().max() < 1e-2


def test_nothing_moves_where_nothing_is_to_be_seen(pyramid):
    frames = torch.full((1, 2, 3, 64, 64), 0.3)
    velocities = coarse_to_fine(pyramid(frames), torch.tensor([[-1.0, -2.0]]))
    assert all((level == 0).all() for level in velocities)


def test_what_stands_still_before_what_moves_is_found_at_rest(pyramid):
    large = eon.photos((96, 96), ("astronaut",))
    clip = torch.stack([large[..., 16:80, 8 + 4 * t : 72 + 4 * t] for t in range(2)], 1)
    clip[..., 24:40, 24:40] = eon.photos((16, 16), ("coffee",))
    frames = clip.flip(1)  # the last one first
    velocity = coarse_to_fine(pyramid(frames), torch.tensor([[-1.0, -2.0]]))[0]
    assert velocity[0, :, 27:37, 27:37].norm(dim=0).median() < 1, "a coarser level was wrong"
    around = velocity[0, :, 48:56, 8:40] - torch.tensor([-4.0, 0.0])[:, None, None]
    assert around.norm(dim=0).median() < 0.5
