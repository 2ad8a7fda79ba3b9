"""Figures: contact sheets, curves, a picture of the architecture drawn from the model itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import torchinfo
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from torch import Tensor, nn
from torchvision.utils import flow_to_image

from eon_utils.evaluation.metrics import psnr
from eon_utils.models.inputs import as_float
from eon_utils.notebook.display import DENSITIES, table

# Okabe & Ito 2008
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), "-")
LOOKS: dict[str, int] = {}  # name -> index of its colour and dashes, in the order of first use

SHEET_WIDTH = 8.0  # inches of all pictures in a row of a sheet, at most
HEAT_COLUMNS = 6
LETTER = 0.09  # inches of a letter in a title, about
SHORT_TITLE = 24  # letters, which no title is cut to fewer than
TEXT_WIDTH = 0.75  # of a shape below a block, in the units of an architecture's drawing
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
) -> Figure:
    """Pictures in a grid: one row a key, one column a picture.

    Args:
        rows: name -> (N, 3, H, W), clipped to [0, 1]. Shorter rows leave gaps.
        titles: one a column.
        against: (N, 3, H, W); under each picture is written its PSNR to these.
        most: columns, at most; what goes beyond is left out.
    """
    columns = min(most, _longest(rows))
    aspect = _aspect(rows)
    width = _picture_width(len(rows), columns, aspect, area=20)
    names = max(0.9, 0.3 + 0.09 * max(map(len, rows)))
    gap = 0.05 if against is None else 0.24
    size = (width * columns + names, len(rows) * (width * aspect + gap) + 0.3)
    fig, axes = _grid(rows, titles, columns, size)
    for row, pictures in zip(axes, rows.values(), strict=True):
        for ax, picture in zip(row, pictures, strict=False):
            _draw_picture(ax, picture, width)
        if against is not None:
            levels = psnr(pictures, against[: len(pictures)]).tolist()
            for ax, level in zip(row, levels, strict=False):
                note = "exact" if math.isinf(level) else f"{level:.1f} dB"
                ax.set_xlabel(note, fontsize=10, labelpad=3, parse_math=False)
    return fig


def heat_sheet(
    rows: dict[str, Tensor],
    titles: Sequence[str] = (),
    label: str = "",
    top: float | None = None,
    pictures: dict[str, Tensor] | None = None,
) -> Figure:
    """Maps in a grid, on one common colour scale that begins at 0.

    Args:
        rows: name -> (N, H, W), the first six of which are shown.
        titles: one a column.
        label: of the colour scale.
        top: its end; default: the 99.5th percentile of all values.
        pictures: rows above them, name -> (N, 3, H, W) in [0, 1].
    """
    pictures = pictures or {}
    every = pictures | rows
    columns = min(HEAT_COLUMNS, _longest(rows))
    aspect = _aspect(rows)
    width = _picture_width(len(every), columns, aspect, area=17)
    names = max(0.5, 0.1 + 0.1 * max(map(len, every)))
    size = (width * columns + names + 0.9, len(every) * (width * aspect + 0.06) + 0.35)
    fig, axes = _grid(every, titles, columns, size)
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
        fig.colorbar(drawn, ax=axes, shrink=0.8, pad=0.015, label=label)
    return fig


def motion_sheet(frames: Tensor, flows: dict[str, Tensor], titles: Sequence[str] = ()) -> Figure:
    """Frames with arrows of the first flow, and below them each of the flows as colours.

    All flows are on one scale. A wheel shows which colour is which way.

    Args:
        frames: (N, 3, H, W) in [0, 1].
        flows: name -> (N, 2, H, W), (dx, dy) in pixels.
        titles: one a frame.
    """
    top = _top_speed(flows)
    columns = len(frames)
    rows = {"as arrows": frames, **flows}
    aspect = _aspect(rows)
    width = _picture_width(len(rows), columns + 1, aspect, area=19)
    size = (width * (columns + 0.8) + 0.5, len(rows) * (width * aspect + 0.06) + 0.35)
    fig, axes = _grid(rows, titles, columns + 1, size, pad=4)
    for ax, frame, flow in zip(axes[0], frames, next(iter(flows.values())), strict=False):
        _draw_picture(ax, frame)
        _draw_arrows(ax, flow, top)
    for row, flow in zip(axes[1:], flows.values(), strict=True):
        for ax, colours in zip(row, flow_colours(flow, top), strict=False):
            _draw_picture(ax, colours)
    _draw_picture(axes[1, -1], _colour_wheel())
    axes[1, -1].set_title(f"rim: {top:.1f} px", fontsize=9)
    return fig


def _top_speed(flows: dict[str, Tensor]) -> float:
    """The 99th percentile of all speeds, in pixels, and at least a tenth of one."""
    speeds = torch.cat([flow.norm(dim=1).flatten() for flow in flows.values()])
    return max(speeds.quantile(0.99).item(), 0.1)


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


def _draw_arrows(ax: Axes, flow: Tensor, top: float) -> None:
    """Ten arrows in a row for a flow (2, H, W); at the speed `top` they overlap by a half."""
    height, width = flow.shape[1:]
    every = max(width // 10, 1)
    y = torch.arange(every // 2, height, every)
    x = torch.arange(every // 2, width, every)
    dx, dy = flow.detach().cpu()[:, y[:, None], x]
    scale = top / (1.5 * every)
    ax.quiver(x, y, dx, dy, angles="xy", scale_units="xy", scale=scale, **ARROWS)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _longest(rows: dict[str, Tensor]) -> int:
    return max(len(pictures) for pictures in rows.values())


def _aspect(rows: dict[str, Tensor]) -> float:
    height, width = next(iter(rows.values())).shape[-2:]
    return height / width


def _picture_width(rows: int, columns: int, aspect: float, area: float) -> float:
    """In inches, in a grid: at most `area` square inches of pictures keep a PNG small."""
    by_area = math.sqrt(area / (rows * columns * aspect))
    by_width = SHEET_WIDTH / max(columns, 3)
    return min(by_width, by_area)


def _grid(
    rows: dict[str, Tensor],
    titles: Sequence[str],
    columns: int,
    size: tuple[float, float],
    pad: float = 8,
) -> tuple[Figure, np.ndarray]:
    """Bare axes in a grid: a row a key, named at its left `pad` points away; titles on top."""
    fig, axes = plt.subplots(len(rows), columns, squeeze=False, figsize=size)
    for ax in axes.flat:
        _bare(ax)
    for ax, name in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=pad, parse_math=False)
    first = next(iter(rows.values()))
    for ax, title in zip(axes[0, : len(first)], titles, strict=False):
        ax.set_title(_shortened(title, size[0] / columns), parse_math=False)
    return fig, axes


def _shortened(title: str, width: float) -> str:
    """A title that leaves its neighbours room, of so many inches: names of files may be long."""
    most = max(round(width / LETTER), SHORT_TITLE)
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
) -> Axes:
    """Lines with direct labels at their right ends.

    A name keeps its colour and dashes in all figures of a notebook.

    Args:
        series: name -> (x, y).
        xlabel: with the unit.
        ylabel: likewise.
        ax: where to draw; default: a figure of its own.
        log: "x", "y" or "xy": the axes that are logarithmic.
        marker: of the points, as matplotlib names them; none as a rule.

    Returns:
        The axes drawn on.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(8.6, 4))
    ends = []
    for name, (x, y) in series.items():
        index = LOOKS.setdefault(name, len(LOOKS))
        colour = COLOURS[index % len(COLOURS)]
        dashes = DASHES[index % len(DASHES)]
        x = torch.as_tensor(x).cpu().numpy()
        y = torch.as_tensor(y).cpu().numpy()
        ax.plot(x, y, color=colour, linestyle=dashes, lw=1.8, marker=marker, ms=4)
        ends.append(_End(name, colour, x[-1], y[-1]))
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _label_ends(ax, ends)
    return ax


@dataclass
class _End:
    """Where a curve ends."""

    name: str
    colour: str
    x: float
    y: float


def _label_ends(ax: Axes, ends: Sequence[_End]) -> None:
    """Names at the curves' ends, pushed apart until none overlaps another."""
    fig = ax.get_figure(root=True)
    assert fig is not None
    fig.draw_without_rendering()
    to_axes = ax.transData + ax.transAxes.inverted()
    spots = []
    for end in ends:
        _, height = to_axes.transform((end.x, end.y))
        spots.append((float(height), end.name, end.colour))
    spots.sort()
    points = ax.get_window_extent().height / fig.dpi * 72
    gap = 15 / points  # a line of text, as a share of the axes
    heights: list[float] = []
    for height, *_ in spots:
        heights.append(max(height, heights[-1] + gap) if heights else height)
    above = max(0, heights[-1] - 1) if heights else 0
    for height, (_, name, colour) in zip(heights, spots, strict=True):
        ax.annotate(
            name,
            (1.01, height - above),
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontweight="bold",
            fontsize=10,
        )


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
def architecture(models: dict[str, nn.Module], images: Tensor, reads: str = "") -> Figure:
    """Draw models from what ran through them: one row a model, a block a tensor.

    A block's height follows the picture's height, its width the number of channels. A skip is drawn
    wherever a layer took more channels than the one before it returned.

    Args:
        models: name -> model.
        images: (N, 3, H, W), or clips (N, T, 3, H, W); the first one is shown.
        reads: for a network of many layers, of which each stage is one block, coloured by part:
            what its decoder reads from the encoder at each size, in words.
    """
    fig, axes = plt.subplots(
        len(models), 1, squeeze=False, figsize=(9.2, 1.66 * len(models) + 0.05)
    )
    for ax, (name, model) in zip(axes[:, 0], models.items(), strict=True):
        layers = trace(model, images)
        if reads:
            layers = _stages(layers)
        blocks = _blocks(layers, slim=bool(reads))
        _draw_blocks(ax, blocks, _by_part(layers) if reads else None)
        if reads:
            _draw_reads(ax, blocks, reads)
        else:
            _draw_skips(ax, layers, blocks, _skip_noise(model))
        _draw_pictures(ax, images[0], model(images[:1])[0], blocks[-1].right + 0.75)
        ax.text(-3.0, 1.35, name, fontweight="bold", va="center", fontsize=11)
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


def _blocks(layers: Sequence[Layer], slim: bool = False) -> list[_Block]:
    shapes = [layers[0].input_shape, *(layer.output_shape for layer in layers)]
    if len(shapes[0]) == 1:
        tallest = max(shapes[0])
    else:
        tallest = max(shape[-2] for shape in shapes if len(shape) == 3)
    left = 0.0
    blocks = []
    for shape in shapes:
        if len(shape) == 1:
            width = 0.12
            height = 2.0 * (shape[0] / tallest) ** 0.18
        else:
            width = 0.08 + (0.06 if slim else 0.13) * math.log2(max(shape[0], 2))
            height = 2.0 * (shape[-2] / tallest) ** 0.55
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
    colours = (COLOURS[0], COLOURS[1], COLOURS[3])
    return [("", "#999999"), *((part, colours[order.index(part) % 3]) for part in parts)]


def _draw_reads(ax: Axes, blocks: Sequence[_Block], reads: str) -> None:
    """Lines over the blocks, from each size on the way down to the first of that size after it."""
    colour = COLOURS[2]
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
    ax: Axes, blocks: Sequence[_Block], parts: Sequence[tuple[str, str]] | None = None
) -> None:
    """Blocks with their shapes below them, and arrows between; the smallest is the code.

    Of many layers, which stand close together, every second or third has room for its shape. Where
    blocks have parts, these are named at the foot, and their colours are taken.
    """
    code = min(blocks, key=lambda block: math.prod(block.shape))
    colours = [COLOURS[1] if block is code else COLOURS[0] for block in blocks]
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


def _draw_skips(ax: Axes, layers: Sequence[Layer], blocks: Sequence[_Block], noise: float) -> None:
    """Lines over the blocks, dashed where there is noise on them."""
    colour = COLOURS[2]
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
