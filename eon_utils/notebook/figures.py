"""Figures: contact sheets, curves, a picture of the architecture drawn from the model itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torchinfo
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Polygon, Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, IdentityTransform, Transform
from torch import Tensor, nn
from torchvision.utils import flow_to_image

from eon_utils.evaluation.metrics import psnr
from eon_utils.models.inputs import as_float
from eon_utils.notebook.display import DENSITIES, table
from eon_utils.notebook.looks import BLUE, DOTTED, GRAY, GREEN, PINK, VERMILION, Look, looks_of

SHEET_WIDTH = 8.0  # inches of all pictures in a row of a sheet, at most
HEAT_COLUMNS = 6
LETTER = 0.6  # width of a letter, in heights of the text
SMALLEST = 8  # points of a title
SHORT_TITLE = 24  # letters, which no title is cut to fewer than
NAME_GAP = 12  # points between the right side of a chart and the names of its lines
TEXT_WIDTH = 0.75  # of a shape below a block, in the units of an architecture's drawing
ARROWS_AN_INCH = 7  # more would hide the picture
ARROWS: dict[str, Any] = {
    "color": "#ffe100",
    "edgecolor": "black",
    "linewidth": 0.4,
    "width": 0.012,
}


# --- sheets: pictures in a grid ---


def contact_sheet(
    rows: dict[str, Tensor],
    titles: Sequence[str] = (),
    against: Tensor | None = None,
    most: int = 6,
    across: bool = False,
) -> Figure:
    """Pictures in a grid: one row a key, one column a picture.

    Args:
        rows: name -> (N, 3, H, W), clipped to [0, 1]. Shorter rows leave gaps.
        titles: one a picture.
        against: (N, 3, H, W); under each picture is written its PSNR to these.
        most: pictures of a key, at most; what goes beyond is left out.
        across: one column a key, one row a picture, so that few pictures of many keys are large.
    """
    count = min(most, _longest(rows))
    names, heads = _names_and_heads(rows, titles, count, across)
    aspect = _aspect(rows)
    width = _picture_width(len(names), len(heads), aspect, area=20)
    left = max(0.9, 0.3 + 0.09 * _longest_line(names))
    gap = 0.05 if against is None else 0.24
    size = (width * len(heads) + left, len(names) * (width * aspect + gap) + 0.3)
    fig, axes = _grid(names, heads, len(heads), size, width=width)
    for row, pictures in zip(axes.T if across else axes, rows.values(), strict=True):
        for ax, picture in zip(row, pictures, strict=False):
            _draw_picture(ax, picture, width)
        if against is not None:
            levels = psnr(pictures, against[: len(pictures)]).tolist()
            for ax, level in zip(row, levels, strict=False):
                ax.set_xlabel(_level_text(level), fontsize=10, labelpad=3, parse_math=False)
    return fig


def heat_sheet(
    rows: dict[str, Tensor],
    titles: Sequence[str] = (),
    label: str = "",
    top: float | None = None,
    pictures: dict[str, Tensor] | None = None,
    across: bool = False,
) -> Figure:
    """Maps in a grid, on one common colour scale that begins at 0.

    Args:
        rows: name -> (N, H, W), the first six of which are shown.
        titles: one a map.
        label: of the colour scale.
        top: its end; default: the 99.5th percentile of all values.
        pictures: rows above them, name -> (N, 3, H, W) in [0, 1].
        across: one column a key, one row a map; pictures stand at the left of maps.
    """
    pictures = pictures or {}
    every = pictures | rows
    count = min(HEAT_COLUMNS, _longest(rows))
    names, heads = _names_and_heads(every, titles, count, across)
    aspect = _aspect(rows)
    width = _picture_width(len(names), len(heads), aspect, area=17)
    left = max(0.5, 0.1 + 0.1 * _longest_line(names))
    size = (width * len(heads) + left + 0.9, len(names) * (width * aspect + 0.06) + 0.35)
    fig, grid = _grid(names, heads, len(heads), size, width=width)
    axes = grid.T if across else grid
    for row, shown in zip(axes, pictures.values(), strict=False):
        for ax, picture in zip(row, shown, strict=False):
            _draw_picture(ax, picture)
    every_value = torch.cat([maps.flatten() for maps in rows.values()])
    top = top or float(np.percentile(every_value.cpu().numpy(), 99.5))
    drawn = None
    for row, maps in zip(axes[len(pictures) :], rows.values(), strict=True):
        for ax, values in zip(row, maps.cpu().numpy(), strict=False):
            kernel = _kernel(values.shape[-1], width)
            drawn = ax.imshow(values, cmap="viridis", vmin=0, vmax=top, interpolation=kernel)
    if drawn:
        fig.colorbar(drawn, ax=grid, shrink=0.8, pad=0.015, label=label)
    return fig


def error_sheet(
    answers: dict[str, Tensor],
    target: Tensor,
    titles: Sequence[str] = (),
    pictures: dict[str, Tensor] | None = None,
) -> Figure:
    """Where answers are wrong: the target, and below it the absolute error of each answer.

    Args:
        answers: name -> (N, 3, H, W) in [0, 1]; their PSNR stands below their errors.
        target: (N, 3, H, W) in [0, 1].
        titles: one a column.
        pictures: rows below the target, name -> (N, 3, H, W), shown as they are.
    """
    above = {"target": target} | (pictures or {})
    errors = {}
    for name, answer in answers.items():
        errors[f"error of\n{name}"] = (answer - target).abs().mean(1)  # (N, H, W)
    fig = heat_sheet(errors, titles, "absolute error", pictures=above)
    fig.set_figheight(fig.get_figheight() + 0.2 * len(errors))
    columns = min(HEAT_COLUMNS, len(target))
    first = columns * len(above)  # of the axes with errors
    for row, answer in enumerate(answers.values()):
        for column, level in enumerate(psnr(answer, target).tolist()[:columns]):
            ax = fig.axes[first + row * columns + column]
            ax.set_xlabel(_level_text(level), fontsize=10, labelpad=3)
    return fig


def _level_text(level: float) -> str:
    return "exact" if math.isinf(level) else f"{level:.1f} dB"


def motion_sheet(frames: Tensor, flows: dict[str, Tensor], titles: Sequence[str] = ()) -> Figure:
    """Frames with arrows of the first flow, and below them each of the flows as colours.

    A wheel shows which colour is which way. Each frame has a scale of its own, which all its flows
    share: the speed at the wheel's rim, written at the foot.

    Args:
        frames: (N, 3, H, W) in [0, 1].
        flows: name -> (N, 2, H, W), (dx, dy) in pixels.
        titles: one a frame.
    """
    columns = len(frames)
    rows = {"as arrows": frames, **flows}
    aspect = _aspect(rows)
    width = _picture_width(len(rows), columns + 1, aspect, area=19)
    size = (width * (columns + 0.8) + 0.5, len(rows) * (width * aspect + 0.06) + 0.35)
    fig, axes = _grid(rows, titles, columns + 1, size, pad=4)
    arrows = min(10, max(4, round(ARROWS_AN_INCH * width)))
    for column, frame in enumerate(frames):
        motions = torch.stack([flow[column] for flow in flows.values()])  # (M, 2, H, W)
        top = _top_speed(motions)
        _draw_picture(axes[0, column], frame)
        _draw_arrows(axes[0, column], motions[0], top, arrows)
        for ax, motion in zip(axes[1:, column], motions, strict=True):
            _draw_picture(ax, flow_colours(motion[None], top)[0])
        axes[-1, column].set_xlabel(f"rim: {top:.1f} px", fontsize=10, labelpad=3)
    _draw_picture(axes[1, -1], _colour_wheel())
    return fig


def _top_speed(flow: Tensor) -> float:
    """The 99th percentile of the speeds of (M, 2, H, W), in pixels, and at least a tenth of one."""
    return max(flow.norm(dim=1).flatten().quantile(0.99).item(), 0.1)


def flow_colours(flow: Tensor, top: float) -> Tensor:
    """Motion as colour: hue is the direction, full colour the speed `top` (Baker et al. 2011).

    Args:
        flow: (N, 2, H, W), (dx, dy) in pixels.
        top: in pixels; what is faster is drawn as if it were no faster.

    Returns:
        (N, 3, H, W) in [0, 1], white where nothing moves.

    Examples:
        >>> flow_colours(torch.zeros(1, 2, 4, 6), top=1.0).shape
        torch.Size([1, 3, 4, 6])
    """
    flow = flow.detach().cpu().float()
    speed = flow.norm(dim=1, keepdim=True)
    flow = flow * (top / speed).clamp(max=1)
    fastest = torch.zeros_like(flow[:1])
    fastest[:, 0] = top  # the fastest of a batch gets the full colour
    colours = flow_to_image(torch.cat([flow, fastest]))
    return colours[:-1] / 255


def _colour_wheel() -> Tensor:
    """Which colour is which way, (3, 64, 64): a disc with full speed at its rim."""
    place = torch.linspace(-1, 1, 64)
    dx, dy = torch.meshgrid(place, place, indexing="xy")
    flow = torch.stack([dx, dy])
    return torch.where(flow.norm(dim=0) <= 1, flow_colours(flow[None], 1.0)[0], 1.0)


def _draw_arrows(ax: Axes, flow: Tensor, top: float, count: int) -> None:
    """A row has `count` arrows of a flow (2, H, W); at the speed `top` they overlap by a half."""
    height, width = flow.shape[1:]
    every = max(width // count, 1)
    y = torch.arange(every // 2, height, every)
    x = torch.arange(every // 2, width, every)
    dx, dy = flow.detach().cpu()[:, y[:, None], x]
    scale = top / (1.5 * every)
    ax.quiver(x, y, dx, dy, angles="xy", scale_units="xy", scale=scale, **ARROWS)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _longest(rows: dict[str, Tensor]) -> int:
    return max(len(pictures) for pictures in rows.values())


def _names_and_heads(
    rows: dict[str, Tensor], titles: Sequence[str], count: int, across: bool
) -> tuple[list[str], list[str]]:
    """What stands at the left of a grid's rows, and over its columns."""
    of_pictures = [*titles, *[""] * count][:count]
    return (of_pictures, list(rows)) if across else (list(rows), of_pictures)


def _longest_line(names: Sequence[str]) -> int:
    return max(map(len, "\n".join(names).split("\n")))


def _aspect(rows: dict[str, Tensor]) -> float:
    height, width = next(iter(rows.values())).shape[-2:]
    return height / width


def _picture_width(rows: int, columns: int, aspect: float, area: float) -> float:
    """In inches, in a grid: at most `area` square inches of pictures keep a PNG small."""
    by_area = math.sqrt(area / (rows * columns * aspect))
    by_width = SHEET_WIDTH / max(columns, 3)
    return min(by_width, by_area)


def _grid(
    rows: Collection[str],
    titles: Sequence[str],
    columns: int,
    size: tuple[float, float],
    pad: float = 8,
    width: float = math.inf,
) -> tuple[Figure, np.ndarray]:
    """Bare axes in a grid: rows named at their left `pad` points away, titles on top.

    Titles become smaller where the longest is wider than a column of `width` inches.
    """
    fig, axes = plt.subplots(len(rows), columns, squeeze=False, figsize=size)
    for ax in axes.flat:
        _bare(ax)
    for ax, name in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=pad, parse_math=False)
    titles = [_shortened(title, min(width, size[0] / columns)) for title in titles]
    longest = max([len(title) for title in titles], default=0)
    points = 72 * width / (LETTER * max(longest, 1))
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title, parse_math=False, fontsize=max(SMALLEST, min(12, points)))
    return fig, axes


def _shortened(title: str, width: float) -> str:
    """A title that leaves its neighbours room, of so many inches: names of files may be long."""
    letters = int(72 * width / (LETTER * SMALLEST)) - 1  # and a gap
    most = max(letters, SHORT_TITLE)
    return title if len(title) <= most else f"{title[: most - 1]}…"


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _draw_picture(ax: Axes, picture: Tensor, width: float = math.inf) -> None:
    """A picture, in a place of this width in inches."""
    ax.imshow(_pixels(picture), interpolation=_kernel(picture.shape[-1], width))


def _kernel(pixels: int, width: float) -> str:
    """How a picture is scaled: at twice its size or more each pixel shows, else no jagged edges.

    Args:
        pixels: in a row of the picture.
        width: in inches.
    """
    return "nearest" if width * DENSITIES[-1] >= 2 * pixels else "hamming"


def _pixels(picture: Tensor) -> np.ndarray:
    """(3, H, W), float or uint8 -> (H, W, 3), clipped to [0, 1]."""
    picture = as_float(picture, "a sheet takes pictures").detach().cpu().clamp(0, 1)
    return picture.permute(1, 2, 0).numpy()


# --- curves ---


def panels(
    titles: Sequence[str], columns: int = 2, size: tuple[float, float] = (4.7, 3.1)
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each title, as many rows as it takes.

    Args:
        titles: one a panel.
        columns: panels in a row; where there are fewer titles, the row is as wide as they are.
        size: width and height of a panel, in inches.

    Returns:
        The figure, and one axes a title; those left over in the last row are hidden.

    Examples:
        >>> fig, axes = panels(["digits", "leaves", "pans", "games", "videos"])
        >>> len(axes), fig.get_size_inches().tolist()
        (5, [9.4, 9.3])
        >>> plt.close(fig)
    """
    columns = min(columns, len(titles))
    rows = math.ceil(len(titles) / columns)
    figsize = (columns * size[0], rows * size[1])
    fig, axes = plt.subplots(rows, columns, squeeze=False, figsize=figsize)
    used = list(axes.flat[: len(titles)])
    for ax, title in zip(used, titles, strict=True):
        ax.set_title(title, parse_math=False)
    for ax in axes.flat[len(titles) :]:
        ax.set_visible(False)
    return fig, used


def curves(
    series: dict[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    log: str = "",
    marker: str = "",
    levels: Mapping[str, float] | None = None,
) -> Axes:
    """Lines with their names at their right ends, and leaders from the ends to the names.

    A name has the same colour and dashes in all lessons, and in the widgets (see `looks.LOOKS`).

    Args:
        series: name -> (x, y).
        xlabel: with the unit.
        ylabel: likewise.
        ax: where to draw; default: a figure of its own.
        log: "x", "y" or "xy": the axes that are logarithmic.
        marker: of the points, as matplotlib names them; none as a rule.
        levels: name -> the height of a gray line across, such as that of a baseline.

    Returns:
        The axes drawn on.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(8.6, 4))
    ends = []
    for (name, (x, y)), look in zip(series.items(), looks_of(series), strict=True):
        x = torch.as_tensor(x).cpu().numpy()
        y = torch.as_tensor(y).cpu().numpy()
        style: dict[str, Any] = {"color": look.colour, "linestyle": look.linestyle, "lw": 1.8}
        ax.plot(x, y, marker=marker, ms=4, **style)
        known = np.flatnonzero(np.isfinite(y))
        if len(known):
            end = float(x[known[-1]]), float(y[known[-1]])
            ends.append(_End(name, look.colour, end, ax.transData))
    for name, height in (levels or {}).items():
        ax.axhline(height, color=GRAY, lw=1.2, ls=Look(GRAY, DOTTED).linestyle)
        ends.append(_End(name, GRAY, (1, height), ax.get_yaxis_transform()))
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _EndNames(ax, ends)
    return ax


@dataclass
class _End:
    """Where a line ends."""

    name: str
    colour: str
    point: tuple[float, float]
    transform: Transform  # from the point to pixels


class _EndNames:
    """Names at the right of lines' ends, each with a leader from the end to the name.

    Where they stand is found whenever they are drawn: until then the limits of an axis may change.
    """

    def __init__(self, ax: Axes, ends: Sequence[_End]) -> None:
        self.ax = ax
        self.ends = ends
        for index, end in enumerate(ends):
            ax.annotate(
                end.name,
                (0, 0),
                xycoords=partial(self._place, index),
                color=end.colour,
                va="center",
                fontweight="bold",
                fontsize=10,
                parse_math=False,
            )
            ax.add_artist(_Leader(partial(self._lead, index), end.colour))

    def _place(self, index: int, renderer: object) -> Transform:
        return Affine2D().translate(*self._left(index))

    def _left(self, index: int) -> tuple[float, float]:
        """Where a name begins, in pixels."""
        inside = self.ax.bbox
        ends = [end.transform.transform(end.point)[1] for end in self.ends]
        heights = spread_out(ends, self._pixels(15), inside.y0, inside.y1)
        return inside.x1 + self._pixels(NAME_GAP), heights[index]

    def _lead(self, index: int) -> Path:
        """From the end level to the right side, and from there to the name."""
        end = self.ends[index]
        x, y = end.transform.transform(end.point)
        left, height = self._left(index)
        side = max(self.ax.bbox.x1, x)
        gap = self._pixels(2)
        return Path([(min(x + 2 * gap, side), y), (side, y), (left - gap, height)])

    def _pixels(self, points: float) -> float:
        fig = self.ax.get_figure(root=True)
        assert fig is not None
        return points * fig.dpi / 72


class _Leader(Patch):
    """A thin line, found anew whenever it is drawn."""

    def __init__(self, find: Callable[[], Path], colour: str) -> None:
        super().__init__(fill=False, edgecolor=colour, linewidth=0.9)
        self.find = find
        self.set_transform(IdentityTransform())  # the path is in pixels
        self.set_clip_on(False)
        self.set_in_layout(False)

    def get_path(self) -> Path:
        return self.find()


def spread_out(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights pushed apart until each two lie `gap` apart, between `low` and `high`.

    Where there is no room for that, they lie evenly.

    Examples:
        >>> spread_out([5, 5, 1], gap=2, low=0, high=10)
        [5, 7, 1]
        >>> spread_out([10, 10], gap=2, low=0, high=10)
        [8, 10]
    """
    gap = min(gap, (high - low) / max(len(heights) - 1, 1))
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = list(heights)
    for index in order:
        placed[index] = low = max(placed[index], low)
        low += gap
    for index in reversed(order):
        placed[index] = high = min(placed[index], high)
        high -= gap
    return placed


def smooth(values: Sequence[float], window: int = 9) -> np.ndarray:
    """Running median: a noisy curve made readable without moving its level.

    Args:
        values: (N,).
        window: so many values, an odd number.

    Returns:
        (N,).

    Examples:
        >>> smooth([1, 1, 9, 1, 1], window=3)
        array([1., 1., 1., 1., 1.])
    """
    padded = np.pad(np.asarray(values, dtype=float), window // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    return np.median(windows, axis=-1)


# --- architectures ---


@dataclass
class Layer:
    """One layer with weights, as it ran.

    Attributes:
        name: its path in the model.
        kind: its class, of convolutions with kernel and stride.
        input_shape: without the batch.
        output_shape: likewise.
        parameters: how many numbers it has learned.
    """

    name: str
    kind: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int


def trace(model: nn.Module, images: Tensor) -> list[Layer]:
    """Run a picture through a model and list its layers with weights, in the order they ran in.

    Args:
        model: in `train` mode or not; it stays as it is.
        images: (N, 3, H, W), or clips (N, T, 3, H, W); the first one is enough.
    """
    mode = "train" if model.training else "eval"
    summary = torchinfo.summary(model, input_data=images[:1], mode=mode, verbose=0)
    names = {module: name for name, module in model.named_modules()}
    layers = []
    for info in summary.summary_list:
        parameters = sum(p.numel() for p in info.module.parameters(recurse=False))
        if parameters:
            shapes = (tuple(info.input_size[1:]), tuple(info.output_size[1:]))
            layers.append(Layer(names[info.module], _kind(info.module), *shapes, parameters))
    return layers


def _kind(layer: nn.Module) -> str:
    kind = type(layer).__name__
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        height, width = layer.kernel_size
        kind += f" {height}x{width}, stride {layer.stride[0]}"
    return kind


def layer_table(model: nn.Module, images: Tensor) -> None:
    """Display the layers of a model with their shapes and parameters.

    Args:
        model: any.
        images: what it takes; the first one is enough.
    """
    rows = []
    parameters = {}  # by name: a layer that runs several times is counted once
    for layer in trace(model, images):
        shapes = (_shape_text(layer.input_shape), _shape_text(layer.output_shape))
        rows.append((layer.name, layer.kind, *shapes, f"{layer.parameters:,}"))
        parameters[layer.name] = layer.parameters
    rows.append(("", "", "", "in all", f"{sum(parameters.values()):,}"))
    table(("layer", "kind", "takes", "returns", "parameters"), rows)


def _shape_text(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{side:,}" for side in shape)


@torch.no_grad()
def architecture(
    models: dict[str, nn.Module],
    images: Tensor,
    reads: str = "",
    without: Sequence[str] = (),
    outputs: Mapping[str, Tensor] | None = None,
) -> Figure:
    """Draw models from what ran through them: one row a model, a block a tensor.

    A block's height follows the picture's height, on one scale for all models, and its width the
    number of channels. A skip is drawn wherever a layer took more channels than the one before it
    returned.

    Args:
        models: name -> model.
        images: (N, 3, H, W), or clips (N, T, 3, H, W); the first one is shown.
        reads: for a network of many layers, of which each stage is one block, coloured by part:
            what its decoder reads from the encoder at each size, in words.
        without: what each model does without, "code" or "skips": gray, with a cross on it.
        outputs: name -> (3, H, W): what comes out, where it is not what the model returns.
    """
    fig, axes = plt.subplots(
        len(models), 1, squeeze=False, figsize=(9.2, 1.66 * len(models) + 0.05)
    )
    ran = {name: _run(model, images, bool(reads)) for name, model in models.items()}
    tallest = max(_height(shape) for run in ran.values() for shape in run.shapes)
    lacking = [*without, *[""] * len(models)]
    for ax, (name, run), lacks in zip(axes[:, 0], ran.items(), lacking, strict=False):
        blocks = _blocks(run.shapes, tallest, slim=bool(reads))
        _draw_blocks(ax, blocks, _by_part(run.layers) if reads else None, lacks == "code")
        if reads:
            _draw_reads(ax, blocks, reads)
        else:
            seen = blocks[run.folded :]
            _draw_skips(ax, run.layers, seen, _skip_noise(models[name]), lacks == "skips")
        output = (outputs or {}).get(name, run.output)
        _draw_pictures(ax, images[0], output, blocks[-1].right + 0.75)
        ax.text(-3.0, 1.5, name, fontweight="bold", va="center", fontsize=11)
        ax.set_xlim(-3.05, 15.9)
        ax.set_ylim(-2.25 if reads else -1.62, 1.85 if reads else 1.72)
        ax.set_aspect("equal")
        _bare(ax)
    return fig


@dataclass
class _Block:
    """A tensor in a drawing: a box, or a bar for a vector. Vertically centred at 0."""

    shape: tuple[int, ...]  # (C, H, W), or (C,)
    left: float
    width: float
    height: float

    @property
    def flat(self) -> bool:
        return len(self.shape) == 1

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def centre(self) -> float:
        return self.left + self.width / 2


@dataclass
class _Run:
    """What ran through a model: tensors without the batch."""

    layers: list[Layer]
    shapes: list[tuple[int, ...]]
    folded: bool  # the first layer saw the picture folded into channels: before it is the picture
    output: Tensor


def _run(model: nn.Module, images: Tensor, by_stage: bool) -> _Run:
    layers = trace(model, images)
    if by_stage:
        layers = _stages(layers)
    output = model(images[:1])[0]
    shapes = [layers[0].input_shape, *(layer.output_shape for layer in layers)]
    folded = not by_stage and _is_folded(images[0], shapes[0])
    if folded:
        shapes.insert(0, tuple(images.shape[-3:]))
    if not by_stage and _is_folded(output, shapes[-1]):
        shapes.append(tuple(output.shape[-3:]))
    return _Run(layers, shapes, folded, output)


def _is_folded(picture: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a layer's (C, H, W) is of another size than the picture."""
    return len(shape) == 3 and shape[-2:] != picture.shape[-2:]


def _height(shape: tuple[int, ...]) -> int:
    """Of a picture in pixels, or of a vector in numbers."""
    return shape[-2] if len(shape) == 3 else shape[0]


def _blocks(shapes: Sequence[tuple[int, ...]], tallest: int, slim: bool = False) -> list[_Block]:
    left = 0.0
    blocks = []
    for shape in shapes:
        share = _height(shape) / tallest
        if len(shape) == 1:
            width = 0.12
            height = 2.0 * share**0.18
        else:
            width = 0.08 + (0.06 if slim else 0.13) * math.log2(max(shape[0], 2))
            height = 2.0 * share**0.55
        blocks.append(_Block(shape, left, width, height))
        left += 12.4 / (len(shapes) - 1)
    return blocks


def _stages(layers: Sequence[Layer]) -> list[Layer]:
    """The last layer of each stage: of layers in a row inside one module, "net.encoder.0"."""
    stages = []
    for _, group in groupby(layers, key=lambda layer: layer.name.rpartition(".")[0]):
        in_a_row = list(group)
        if len(in_a_row) > 1:  # single layers stand aside: what they give is no stage of its own
            stages.append(replace(in_a_row[-1], input_shape=in_a_row[0].input_shape))
    return stages


def _by_part(stages: Sequence[Layer]) -> list[tuple[str, str]]:
    """Name of its part and colour of each block: of what goes in, and of each stage."""
    parts = [stage.name.split(".")[1] for stage in stages]  # of "net.encoder.0.2"
    order = list(dict.fromkeys(parts))
    colours = (BLUE, VERMILION, PINK)
    return [("", "#999999"), *((part, colours[order.index(part) % 3]) for part in parts)]


def _draw_reads(ax: Axes, blocks: Sequence[_Block], reads: str) -> None:
    """Lines over the blocks, from each size on the way down to the first of that size after it."""
    colour = GREEN
    lowest = min(range(len(blocks)), key=lambda index: blocks[index].height)
    for index in range(lowest):
        tail = blocks[index]
        head = next(block for block in blocks[lowest + 1 :] if block.height == tail.height)
        top = tail.height / 2 + 0.3
        x0, x1 = tail.centre + 0.12, head.centre + 0.05
        ax.plot([x0, x0, x1], [tail.height / 2 + 0.13, top, top], color=colour, lw=1.4)
        _draw_arrow(ax, (x1, top), (x1, head.height / 2 + 0.1), 9, colour)
    middle = blocks[lowest].centre
    ax.text(middle, 1.5, reads, ha="center", va="bottom", fontsize=9, color=colour)


def _draw_blocks(
    ax: Axes,
    blocks: Sequence[_Block],
    parts: Sequence[tuple[str, str]] | None = None,
    crossed: bool = False,
) -> None:
    """Blocks with their shapes below them, and arrows between; the smallest is the code.

    Of many layers, which stand close together, every second or third has room for its shape. Where
    blocks have parts, these are named at the foot, and their colours are taken. A crossed code is
    one that a model does without.
    """
    code = min(blocks, key=lambda block: math.prod(block.shape))
    of_code = GRAY if crossed else VERMILION
    colours = [of_code if block is code else BLUE for block in blocks]
    if parts:
        colours = [colour for _, colour in parts]
        for (part, colour), group in groupby(zip(blocks, parts, strict=True), lambda both: both[1]):
            centres = [block.centre for block, _ in group]
            style = {"ha": "center", "va": "top", "fontsize": 10, "fontweight": "bold"}
            ax.text(sum(centres) / len(centres), -1.85, part, color=colour, **style)
    before = None
    free = -math.inf  # where there is room for text
    for block, colour in zip(blocks, colours, strict=True):
        _draw_block(ax, block, colour)
        if block.centre >= free:
            free = block.centre + TEXT_WIDTH
            below = -block.height / 2 - 0.14
            text = _block_text(block)
            ax.text(block.centre, below, text, ha="center", va="top", fontsize=8.5, color="#333")
        if before:
            start = before.right + (0.1 if before.flat else 0.3)
            _draw_arrow(ax, (start, 0), (block.left - 0.06, 0), 10, "#555")
        before = block
    if crossed:
        _draw_cross(ax, code.centre, 0)


def _draw_cross(ax: Axes, x: float, y: float) -> None:
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontweight": "bold", "zorder": 4}
    ax.text(x, y, "×", fontsize=26, color=VERMILION, **style)


def _block_text(block: _Block) -> str:
    if block.flat:
        return f"{block.shape[0]:,}"
    channels, height, width = block.shape
    return f"{channels}\n{width}×{height}"


def _draw_block(ax: Axes, block: _Block, colour: str) -> None:
    """The front, the top and the right side of a box."""
    depth = 0 if block.flat else 0.22
    top = block.height / 2
    x = np.array([block.left, block.right, block.right, block.left])
    y = np.array([-top, -top, top, top])
    front = np.stack([x, y], axis=1)
    back = front + np.array([depth, 0.6 * depth])
    lid = [front[3], front[2], back[2], back[3]]
    side = [front[1], front[2], back[2], back[1]]
    ax.add_patch(Polygon(front, color=colour, lw=0))
    ax.add_patch(Polygon(lid, facecolor=colour, alpha=0.45, lw=0))
    ax.add_patch(Polygon(side, facecolor=colour, alpha=0.65, lw=0))


def _draw_arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], size: float, colour: str
) -> None:
    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=size, color=colour)
    ax.add_patch(arrow)


def _skip_noise(model: nn.Module) -> float:
    """Standard deviation of the noise on a model's skips; 0 if there is none."""
    for module in model.modules():
        noise = getattr(module, "noise", None)
        if noise is not None:
            return float(noise)
    return 0.0


def _draw_skips(
    ax: Axes,
    layers: Sequence[Layer],
    blocks: Sequence[_Block],
    noise: float,
    crossed: bool = False,
) -> None:
    """Lines over the blocks, dashed where there is noise on them, crossed where they are cut."""
    colour = GRAY if crossed else GREEN
    for index in range(1, len(layers)):
        source = _skip_source(layers, index)
        if source is None:
            continue
        tail = blocks[source + 1]
        head = blocks[index]
        top = max(tail.height, head.height) / 2 + 0.28
        x0 = tail.centre + 0.12
        x1 = head.centre + 0.05
        heights = [tail.height / 2 + 0.13, top, top]
        ax.plot([x0, x0, x1], heights, color=colour, lw=1.6, ls="--" if noise else "-")
        _draw_arrow(ax, (x1, top), (x1, head.height / 2 + 0.1), 9, colour)
        if crossed:
            _draw_cross(ax, x0 + 0.5, top)  # where those of other skips are not
    if noise:
        text = f"skips + noise, std {noise:g}"
        ax.text(6.4, 1.56, text, ha="center", va="center", fontsize=9, color=colour)


def _skip_source(layers: Sequence[Layer], index: int) -> int | None:
    """The layer whose output a later one took beside that of the layer before it."""
    channels, *size = layers[index].input_shape
    extra = channels - layers[index - 1].output_shape[0]
    for source, layer in enumerate(layers[:index]):
        if extra > 0 and layer.output_shape == (extra, *size):
            return source
    return None


def _draw_pictures(ax: Axes, source: Tensor, output: Tensor, right: float) -> None:
    """What goes in at the left, the frames of a clip with the last one in front; what comes out."""
    width = 1.5 * source.shape[-1] / source.shape[-2]
    frames = source.reshape(-1, *source.shape[-3:])
    places = []
    for index, frame in enumerate(frames):
        shift = 0.1 * (index - len(frames) + 1)
        places.append((-2.75 + shift, shift, frame))
    for left, shift, picture in (*places, (right, 0.0, output)):
        low = -0.75 - shift
        extent = (left, left + width, low, 0.75 - shift)
        ax.imshow(_pixels(picture), extent=extent, interpolation="bilinear", zorder=3)
        border = Rectangle((left, low), width, 1.5, fill=False, ec="white", lw=0.6, zorder=3)
        ax.add_patch(border)
