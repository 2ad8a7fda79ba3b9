"""Motion between two frames: reading along it, and least squares that find it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from eon_utils.models.inputs import exporting

DAMPING = 1e-4  # added to squared gradients: a picture without any has no motion
OUTLIER = 0.02  # a difference in colour from which on a pixel counts less
LARGEST_UPDATE = 2  # pixels that one step of least squares may move a vector, each way
INVERSE_ROUNDS = 4  # of least squares, median and search that turn a flow round
INVERSE_SMOOTHING = 30  # rounds of smoothing in such a step
MEDIAN_SIDE = 5  # pixels of the squares that vectors are the medians of
MEDIAN_OF = 500  # pixels, about
SCALES = (3, 1, 0.5, 0.25)  # pixels from which on a vector counts less, in turn
CONSTANTS = 128  # that are kept
DOMINANT_DISCOUNT = 0.9  # where the pictures cannot tell, all move as one


def constant(make: Callable[..., Tensor], like: Tensor, *settings: int) -> Tensor:
    """What `make(like, *settings)` returns, made once for each type and device. Never change it.

    An export makes it anew, as part of what it records.
    """
    if exporting() or type(like) is not Tensor:
        return make(like, *settings)
    return _made_once(make, like.dtype, like.device, *settings)


@lru_cache(maxsize=CONSTANTS)
def _made_once(
    make: Callable[..., Tensor], dtype: torch.dtype, where: torch.device, *settings: int
) -> Tensor:
    with torch.inference_mode(False):  # else no later training could use it
        return make(torch.empty(0, dtype=dtype, device=where), *settings)


def pixel_grid(x: Tensor) -> Tensor:
    """The places of the pixels of x (..., H, W): (H, W, 2), (x, y) in pixels."""
    return constant(_pixel_grid, x, *x.shape[-2:])


def _pixel_grid(like: Tensor, height: int, width: int) -> Tensor:
    rows = torch.arange(height, device=like.device, dtype=like.dtype)
    columns = torch.arange(width, device=like.device, dtype=like.dtype)
    places = torch.meshgrid(columns, rows, indexing="xy")
    return torch.stack(places, -1)


def _frame_size(like: Tensor, height: int, width: int) -> Tensor:
    return like.new_tensor([width, height])


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Read x along a flow: each output pixel is x at its place + flow, between pixels bilinear.

    Args:
        x: (N, C, H, W).
        flow: (N, 2, H, W), (dx, dy) in pixels. Outside the frame the border's value is read.

    Returns:
        (N, C, H, W).

    Examples:
        >>> frame = torch.arange(4.0).expand(1, 1, 4, 4)
        >>> right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
        >>> warp(frame, right)[0, 0, 0]
        tensor([1., 2., 3., 3.])
    """
    return read_at(x, pixel_grid(x) + flow.permute(0, 2, 3, 1))


def read_at(x: Tensor, places: Tensor) -> Tensor:
    """Read x (N, C, H, W) at places (N, h, w, 2), (x, y) in pixels, as `warp`: (N, C, h, w)."""
    scale = constant(_scale, x, *x.shape[-2:])
    offset = constant(_offset, x, *x.shape[-2:])
    places = torch.addcmul(offset, places, scale)  # from -1 to 1, edge to edge
    return F.grid_sample(x, places, padding_mode="border", align_corners=False)


def _scale(like: Tensor, height: int, width: int) -> Tensor:
    return 2 / _frame_size(like, height, width)


def _offset(like: Tensor, height: int, width: int) -> Tensor:
    return 1 / _frame_size(like, height, width) - 1


def upsample_flow(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W), bilinear. Values stay: flow in pixels has to be doubled."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class WindowMean:
    """Means over square windows, at the border of what is inside the frame.

    Two products with banded matrices: in batches several times faster than pooling.

    Args:
        like: what it is for, images (M, H, W).
        radius: the windows have 2 * radius + 1 pixels a side.

    Examples:
        >>> row = torch.tensor([[[1.0, 2.0, 6.0]]])
        >>> WindowMean(row, 1)(row)
        tensor([[[1.5000, 3.0000, 4.0000]]])
    """

    def __init__(self, like: Tensor, radius: int) -> None:
        count, height, width = like.shape
        self.rows = constant(_bands, like, count, height, radius)  # (M, H, H)
        self.columns = constant(_bands_across, like, count, width, radius)  # (M, W, W)

    def __call__(self, images: Tensor) -> Tensor:
        """(M, H, W) -> the same shape."""
        return self.rows.bmm(images.bmm(self.columns))


def _band(like: Tensor, size: int, radius: int) -> Tensor:
    """Row i is the mean of the places from i - radius to i + radius, (size, size)."""
    near = like.new_ones(size, size).triu(-radius).tril(radius)
    return near / near.sum(1, keepdim=True)


def _bands(like: Tensor, count: int, size: int, radius: int) -> Tensor:
    """`_band`, so many times, (count, size, size)."""
    return constant(_band, like, size, radius).expand(count, -1, -1)


def _bands_across(like: Tensor, count: int, size: int, radius: int) -> Tensor:
    """The same, for columns."""
    return _bands(like, count, size, radius).transpose(1, 2)


def window_mean(x: Tensor, radius: int) -> Tensor:
    """`WindowMean` of (N, C, H, W); the same shape."""
    images = x.flatten(0, 1)  # (N * C, H, W)
    return WindowMean(images, radius)(images).view_as(x)


def _pad(x: Tensor, width: int) -> Tensor:
    """(N, C, H, W), the border repeated outside."""
    return F.pad(x, [width] * 4, mode="replicate")


def global_mean(x: Tensor) -> Tensor:
    """Means over the frame: (N, C, H, W) -> (N, C, 1, 1)."""
    return x.mean((2, 3), keepdim=True)


def lucas_kanade(first: Tensor, second: Tensor, shift: Tensor, seen: Tensor, rounds: int) -> Tensor:
    """A step of least squares: the change of a shift that makes two frames alike, and is smooth.

    Least squares over windows of 5x5 pixels (Lucas and Kanade 1981). Where the pictures say little,
    rounds of Jacobi's iteration pull every vector to the mean of its neighbours (Horn and Schunck
    1981; both together: Bruhn et al. 2005). How hard they pull is measured in the clip's own mean
    gradient. A change of light does not count: the median of all differences is taken off.

    Args:
        first: a frame, (N, C, H, W).
        second: another one, read at `shift`, the same shape.
        shift: of the second frame against the first so far, (N, 2, H, W), (dx, dy) in pixels.
        seen: what counts, (N, 1, H, W): False, or 0, where a frame was read outside.
        rounds: of the iteration.

    Returns:
        (N, 2, H, W), at most 2 pixels each way.
    """
    diagonal, cross, right = _normal_equations(first, second, seen)
    pull = DAMPING + global_mean(diagonal.sum(1, keepdim=True))  # (N, 1, 1, 1)
    diagonal = diagonal + pull
    determinant = diagonal.prod(1, keepdim=True) - cross.square()
    inverse = diagonal.flip(1) / determinant  # the inverse matrix's diagonal, (N, 2, H, W)
    cross = cross / determinant  # its other entry, negated, (N, 1, H, W)

    # The solution is `fixed`, and at each round what the neighbours' mean adds to it.
    right = right - pull * shift
    fixed = shift + inverse * right
    fixed = fixed - cross * right.flip(1)
    other = (-pull * cross).expand_as(shift)
    fixed, own, other, start = (x.flatten(0, 1) for x in (fixed, pull * inverse, other, shift))
    smooth = start  # (2 N, H, W), as are the ones before
    neighbours_mean = WindowMean(smooth, 1)
    other_axis = constant(_other_axis, smooth, shift.shape[0])
    for _ in range(rounds):
        mean = neighbours_mean(smooth)
        smooth = torch.addcmul(fixed, own, mean)
        smooth = torch.addcmul(smooth, other, mean.index_select(0, other_axis))
    change = (smooth - start).clamp(-LARGEST_UPDATE, LARGEST_UPDATE)
    return change.view_as(shift)


def _other_axis(like: Tensor, count: int) -> Tensor:
    """Of x and y of `count` shifts in turn, the index of the other one: 1, 0, 3, 2, ..."""
    pairs = torch.arange(2 * count, device=like.device).view(-1, 2)
    return pairs.flip(1).flatten()


def _normal_equations(first: Tensor, second: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
    """Least squares at each place: the matrix's diagonal, its other entry, and the right side.

    They are (N, 2, H, W), (N, 1, H, W) and (N, 2, H, W).
    """
    dx, dy = _gradients((first + second) / 2)
    difference = remove_brightness_change(first - second)  # (N, C, H, W)
    products = [dx * dx, dy * dy, dx * dy, dx * difference, dy * difference]
    products = torch.stack(products, 1).sum(2)  # (N, 5, H, W)
    error = difference.square().mean(1, keepdim=True)  # (N, 1, H, W)
    weight = seen / (1 + error / OUTLIER**2).sqrt()
    sums = window_mean(products * weight, 2)
    return sums.split((2, 1, 2), 1)


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences of (N, C, H, W) along x and y, the same shape."""
    padded = _pad(images, 1)
    rows = padded[:, :, 1:-1]  # (N, C, H, W + 2)
    columns = padded[..., 1:-1]  # (N, C, H + 2, W)
    dx = rows[..., 2:] - rows[..., :-2]
    dy = columns[:, :, 2:] - columns[:, :, :-2]
    return dx / 2, dy / 2


def remove_brightness_change(difference: Tensor) -> Tensor:
    """A difference of two frames, (N, C, H, W), less its median: what a change of light adds."""
    pixels = difference.flatten(2)  # (N, C, H * W)
    some = pixels[..., :: max(pixels.shape[2] // MEDIAN_OF, 1)]  # as good, in less time
    half = some.shape[2] // 2 + 1
    largest = some.topk(half, sorted=False).values  # not `median`: ONNX has none
    median = largest.amin(2, keepdim=True)  # (N, C, 1)
    return difference - median[..., None]


def in_frame(places: Tensor) -> Tensor:
    """Whether all of some places (N, K, H, W, 2) are in the frame, (N, 1, H, W)."""
    size = constant(_frame_size, places, *places.shape[2:4])
    inside = (places > -1) & (places < size)
    return inside.all(4).all(1, keepdim=True)


def invert_flow(flow: Tensor, last: Tensor, before: Tensor) -> Tensor:
    """Where each pixel of the next frame comes from -> where each pixel of the last frame goes.

    At half size, then at full size, rounds of three things: least squares on the last two frames;
    the median of 5x5 vectors (Sun et al. 2010, section 4); the best vector near by (Barnes et al.
    2009, section 3.2).

    Args:
        flow: (N, 2, H, W), (dx, dy) in pixels.
        last, before: the last two frames, (N, 3, H, W).

    Returns:
        (N, 2, H, W).
    """
    small_last = F.avg_pool2d(last, 2)  # (N, 3, H/2, W/2)
    small_before = F.avg_pool2d(before, 2)
    forward = F.avg_pool2d(-flow, 2) / 2  # (N, 2, H/2, W/2)
    forward = _settle(forward, small_last, small_before)
    forward = 2 * upsample_flow(forward)  # (N, 2, H, W)
    forward = _settle(forward, last, before)
    return _median(forward)


def _settle(forward: Tensor, last: Tensor, before: Tensor) -> Tensor:
    for _ in range(INVERSE_ROUNDS):
        back = -forward
        places = pixel_grid(back) + back.permute(0, 2, 3, 1)  # (N, H, W, 2)
        seen = in_frame(places[:, None])
        change = lucas_kanade(last, read_at(before, places), back, seen, INVERSE_SMOOTHING)
        forward = _median(forward - change)
        forward = best_nearby(forward, last, before)
    return forward


def _median(flow: Tensor) -> Tensor:
    """The median of 5x5 vectors around each place, of x and y apart: (N, 2, H, W).

    By comparisons of whole maps, ten times as fast as `torch.median` of many times 25 numbers.
    """
    height, width = flow.shape[-2:]
    padded = _pad(flow, MEDIAN_SIDE // 2)
    maps = []
    for top, left in product(range(MEDIAN_SIDE), repeat=2):
        maps.append(padded[..., top : top + height, left : left + width])
    for low, high in _median_network(len(maps)):
        first, second = maps[low], maps[high]
        maps[low] = torch.minimum(first, second)
        maps[high] = torch.maximum(first, second)
    return maps[len(maps) // 2]


@lru_cache
def _median_network(count: int) -> list[tuple[int, int]]:
    """Which of `count` numbers to put in order, pair by pair, until the median is in the middle.

    Batcher's merge exchange (Knuth, The Art of Computer Programming 3, algorithm 5.2.2 M), without
    the comparisons that the median does not depend on.
    """
    half = 2 ** ((count - 1).bit_length() - 1)
    pairs = []
    span = half
    while span:
        distance, further, wanted = span, half, 0
        while True:
            for low in range(count - distance):
                if low & span == wanted:
                    pairs.append((low, low + distance))
            if further == span:
                break
            distance, further, wanted = further - span, further // 2, span
        span //= 2
    needed = {count // 2}
    kept = []
    for pair in reversed(pairs):
        if needed.intersection(pair):
            needed.update(pair)
            kept.append(pair)
    return kept[::-1]


def neighbours(flow: Tensor, side: int, apart: int = 1) -> Tensor:
    """Of each place of (N, 2, H, W), side x side vectors around it: (side * side, N, 2, H, W).

    They are `apart` pixels from each other, and come row by row.
    """
    height, width = flow.shape[-2:]
    padded = _pad(flow, side // 2 * apart)
    maps = []
    for row, column in product(range(side), repeat=2):
        top, left = row * apart, column * apart
        maps.append(padded[..., top : top + height, left : left + width])
    return torch.stack(maps)


def best_nearby(flow: Tensor, last: Tensor, before: Tensor) -> Tensor:
    """For each place, the vector along which 3x3 pixels of two frames are most alike.

    Tried are its own, those 3 and then 1 pixels away, and the dominant motion.

    Args:
        flow: (N, 2, H, W), from the last frame on.
        last, before: the last two frames, (N, 3, H, W).

    Returns:
        (N, 2, H, W).
    """
    grid = pixel_grid(flow)
    for apart in (3, 1):
        tried = [*neighbours(flow, 3, apart), dominant_motion(flow)]  # 10 of (N, 2, H, W)
        vectors = torch.stack(tried, 1)  # (N, 10, 2, H, W)
        places = grid - vectors.permute(0, 1, 3, 4, 2)  # (N, 10, H, W, 2)
        read = read_at(before, places.flatten(1, 2))  # (N, 3, 10 H, W): one below the other
        read = read.unflatten(2, (len(tried), -1))  # (N, 3, 10, H, W)
        difference = read - last[:, :, None]
        difference = remove_brightness_change(difference.transpose(1, 2).flatten(0, 1))
        error = difference.abs().mean(1, keepdim=True)  # (10 N, 1, H, W)
        cost = window_mean(error.clamp(max=0.2), 1)
        cost = cost.unflatten(0, (-1, len(tried)))  # (N, 10, 1, H, W)
        cost[:, -1] *= DOMINANT_DISCOUNT
        costs = cost.unbind(1)  # 10 of (N, 1, H, W)
        own = len(tried) // 2 - 1  # in the middle of the 3x3
        flow, least = tried[own], costs[own]
        for vector, its_cost in zip(tried, costs, strict=True):  # quicker than `argmin`, `gather`
            flow = torch.where(its_cost < least, vector, flow)
            least = torch.minimum(its_cost, least)
    return flow


def dominant_motion(flow: Tensor) -> Tensor:
    """The affine motion that most of a flow (N, 2, H, W) agrees with, the same shape.

    By least squares, reweighted: a vector that is far from the motion so far counts less.
    """
    size = max(flow.shape[-2:])
    places = pixel_grid(flow) / size - 0.5  # (H, W, 2)
    places = F.pad(places, [1, 0], value=1.0)  # (H, W, 3): 1, x, y
    places = places.flatten(0, 1).expand(len(flow), -1, -1)  # (N, H * W, 3)
    damping = 1e-4 * torch.eye(3).to(flow)
    vectors = flow.flatten(2).mT  # (N, H * W, 2)
    known = torch.cat([places, vectors], 2)  # (N, H * W, 5)
    motion = vectors.median(1, keepdim=True).values  # (N, 1, 2)
    for scale in SCALES:
        distance = (vectors - motion) / scale
        distance = distance.square().sum(2, keepdim=True)  # (N, H * W, 1)
        weighted = places / (1 + distance)  # (N, H * W, 3)
        matrix, right = weighted.mT.bmm(known).split((3, 2), 2)  # (N, 3, 3), (N, 3, 2)
        coefficients = torch.linalg.solve(matrix + damping, right)  # (N, 3, 2)
        motion = places.bmm(coefficients)  # (N, H * W, 2)
    return motion.mT.reshape(flow.shape)


def solve_linear(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve linear systems by Gauss and Jordan's elimination, without pivots.

    For very many systems of a few unknowns. Unlike `torch.linalg.solve`, it can go into ONNX.

    Args:
        matrix: (..., K, K), positive definite.
        right: (..., K).

    Returns:
        (..., K).
    """
    augmented = torch.cat([matrix, right[..., None]], -1)
    rows = list(augmented.unbind(-2))  # K of (..., K + 1)
    for pivot in range(len(rows)):
        scale = rows[pivot].narrow(-1, pivot, 1)  # (..., 1)
        rows[pivot] = rows[pivot] / scale
        for other in range(len(rows)):
            if other != pivot:
                factor = rows[other].narrow(-1, pivot, 1)
                rows[other] = rows[other] - factor * rows[pivot]
    solution = [row[..., -1] for row in rows]
    return torch.stack(solution, -1)
