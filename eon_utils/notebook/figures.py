"""Figures: contact sheets, curves, a picture of the architecture drawn from the model itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from torch import Tensor, nn

from eon_utils.evaluation.metrics import psnr
from eon_utils.notebook.display import table

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito 2008
LOOKS: dict[str, int] = {}  # name -> index of its colour and dashes, in the order of first use
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)), "-")

STYLE = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "figure.constrained_layout.use": True,
}
plt.rcParams.update(STYLE)


def contact_sheet(
    rows: dict[str, Tensor], titles: Sequence[str] = (), against: Tensor | None = None, most: int = 6
) -> Figure:
    """Pictures in a grid: one row a key, one column a picture.

    rows: name -> (N, 3, H, W), clipped to [0, 1]; shorter rows leave gaps. titles: one a column. against: (N, 3,
    H, W), the PSNR to which is written under each picture. At most `most` columns.
    """
    notes: dict[str, list[str]] = {}
    if against is not None:
        for name, pictures in rows.items():
            levels = psnr(pictures, against).tolist()
            notes[name] = ["exact" if math.isinf(level) else f"{level:.1f} dB" for level in levels]
    columns = min(most, max(len(pictures) for pictures in rows.values()))
    h, w = next(iter(rows.values())).shape[-2:]
    cell, label = _cell(len(rows), columns, h / w, 24), 0.3 + 0.09 * max(len(name) for name in rows)
    fig, axes = plt.subplots(
        len(rows),
        columns,
        squeeze=False,
        figsize=(cell * columns + max(0.9, label), len(rows) * (cell * h / w + (0.24 if notes else 0.05)) + 0.3),
    )
    for row, (name, pictures) in enumerate(rows.items()):
        for column in range(columns):
            ax = axes[row, column]
            _bare(ax)
            if column < len(pictures):
                _picture(ax, pictures[column])
                if row == 0 and column < len(titles):
                    ax.set_title(titles[column])
                if notes:
                    ax.set_xlabel(notes[name][column], fontsize=10, labelpad=3)
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    return fig


def _cell(rows: int, columns: int, aspect: float, area: float) -> float:
    """Width in inches of one picture in a grid: at most `area` square inches of pictures keep a PNG small."""
    return min(8.0 / max(columns, 3), math.sqrt(area / (rows * columns * aspect)))


def heat_sheet(
    rows: dict[str, Tensor], titles: Sequence[str] = (), label: str = "", top: float | None = None
) -> Figure:
    """Maps (N, H, W) in a grid on one common colour scale from 0 to `top` (default: the 99.5th percentile)."""
    columns = min(6, max(len(maps) for maps in rows.values()))
    h, w = next(iter(rows.values())).shape[-2:]
    top = top or float(np.percentile(torch.cat([m.flatten() for m in rows.values()]).cpu().numpy(), 99.5))
    cell = _cell(len(rows), columns, h / w, 17)
    fig, axes = plt.subplots(
        len(rows), columns, squeeze=False, figsize=(cell * columns + 1.4, len(rows) * (cell * h / w + 0.06) + 0.35)
    )
    for row, (name, maps) in enumerate(rows.items()):
        for column in range(columns):
            ax = axes[row, column]
            _bare(ax)
            if column < len(maps):
                drawn = ax.imshow(
                    maps[column].cpu().numpy(), cmap="viridis", vmin=0, vmax=top, interpolation="nearest"
                )
                if row == 0 and column < len(titles):
                    ax.set_title(titles[column])
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    fig.colorbar(drawn, ax=axes, shrink=0.8, pad=0.015, label=label)
    return fig


def curves(
    series: dict[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    log: str = "",
    marker: str = "",
) -> Axes:
    """Lines with direct labels at their right ends. series: name -> (x, y); log: "x", "y" or "xy".

    A name keeps its colour and dashes in all figures of a notebook.
    """
    if ax is None:
        ax = plt.subplots(figsize=(8.6, 4))[1]
    ends = []
    for name, (x, y) in series.items():
        index = LOOKS.setdefault(name, len(LOOKS))
        x, y = torch.as_tensor(x).cpu().numpy(), torch.as_tensor(y).cpu().numpy()
        colour = COLOURS[index % len(COLOURS)]
        ax.plot(x, y, color=colour, linestyle=DASHES[index % len(DASHES)], lw=1.8, marker=marker, ms=4)
        ends.append([name, colour, x[-1], y[-1]])
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    _label_ends(ax, ends)
    return ax


def _label_ends(ax: Axes, ends: list[list]) -> None:
    """Names at the curves' ends, pushed apart until none overlaps another."""
    ax.figure.draw_without_rendering()
    to_axes = ax.transData + ax.transAxes.inverted()
    spots = sorted((float(to_axes.transform((x, y))[1]), name, colour) for name, colour, x, y in ends)
    gap = 15 / (ax.get_window_extent().height / ax.figure.dpi * 72)
    heights = [spots[0][0]] if spots else []
    for y, *_ in spots[1:]:
        heights.append(max(y, heights[-1] + gap))
    heights = [h - max(0, heights[-1] - 1) for h in heights]
    for height, (_, name, colour) in zip(heights, spots, strict=True):
        ax.annotate(
            name,
            (1.01, height),
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontweight="bold",
            fontsize=10,
        )


def smooth(values: Sequence[float], window: int = 9) -> np.ndarray:
    """Running median: a noisy curve made readable without moving its level. Same length."""
    padded = np.pad(np.asarray(values, dtype=float), window // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=-1)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _picture(ax: Axes, picture: Tensor) -> None:
    shown = picture.detach().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
    ax.imshow(shown, interpolation="nearest")


@dataclass
class Layer:
    """One layer with weights, as it ran: shapes without the batch."""

    name: str
    kind: str
    given: tuple[int, ...]
    returned: tuple[int, ...]
    parameters: int


@torch.no_grad()
def trace(model: nn.Module, images: Tensor) -> list[Layer]:
    """Run images, or clips, through a model and write down its layers with weights, in the order they ran in."""
    layers: list[Layer] = []
    hooks = []
    for name, module in model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own:

            def note(module: nn.Module, given: tuple, returned: Tensor, name: str = name, own: int = own) -> None:
                kind = type(module).__name__
                if hasattr(module, "kernel_size"):
                    kind += f" {module.kernel_size[0]}x{module.kernel_size[1]}, stride {module.stride[0]}"
                layers.append(Layer(name, kind, tuple(given[0].shape[1:]), tuple(returned.shape[1:]), own))

            hooks.append(module.register_forward_hook(note))
    try:
        model(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return layers


def layer_table(model: nn.Module, images: Tensor) -> None:
    """Display the layers of a model with their shapes and parameters."""
    layers = trace(model, images)
    rows = [(x.name, x.kind, _shape(x.given), _shape(x.returned), f"{x.parameters:,}") for x in layers]
    rows.append(("", "", "", "in all", f"{sum(x.parameters for x in layers):,}"))
    table(("layer", "kind", "takes", "returns", "parameters"), rows)


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{n:,}" for n in shape)


def architecture(models: dict[str, nn.Module], images: Tensor) -> Figure:
    """Draw models from what ran through them: one row a model, a block a tensor.

    A block's height follows the picture's height, its width the number of channels; a skip is drawn wherever a
    layer took more channels than the one before it returned. images: (N, 3, H, W), or clips (N, T, 3, H, W), of
    which the first is shown.
    """
    fig, axes = plt.subplots(len(models), 1, squeeze=False, figsize=(9.2, 1.66 * len(models) + 0.05))
    with torch.no_grad():
        for ax, (name, model) in zip(axes[:, 0], models.items(), strict=True):
            _draw(ax, name, model, images)
    return fig


def _draw(ax: Axes, name: str, model: nn.Module, images: Tensor) -> None:
    layers = trace(model, images)
    shapes = [layers[0].given, *(layer.returned for layer in layers)]
    tallest = max(shape[-2] for shape in shapes if len(shape) == 3) if len(shapes[0]) == 3 else max(shapes[0])
    at, centres = 0.0, []
    blocks: list[tuple[float, float, float]] = []
    gap = 12.4 / (len(shapes) - 1)
    for shape in shapes:
        flat = len(shape) == 1
        height = 2.0 * (shape[0] / tallest) ** 0.18 if flat else 2.0 * (shape[-2] / tallest) ** 0.55
        width = 0.12 if flat else 0.08 + 0.13 * math.log2(max(shape[0], 2))
        blocks.append((at, width, height))
        centres.append(at + width / 2)
        at += gap
    for index, ((left, width, height), shape) in enumerate(zip(blocks, shapes, strict=True)):
        code = min(range(len(shapes)), key=lambda i: math.prod(shapes[i])) == index
        _block(ax, left, width, height, COLOURS[1] if code else COLOURS[0], 0 if len(shape) == 1 else 0.22)
        ax.text(
            centres[index], -height / 2 - 0.14, _label(shape), ha="center", va="top", fontsize=8.5, color="#333"
        )
        if index:
            start = blocks[index - 1][0] + blocks[index - 1][1] + (0.3 if len(shapes[index - 1]) == 3 else 0.1)
            arrow = FancyArrowPatch(
                (start, 0), (left - 0.06, 0), arrowstyle="-|>", mutation_scale=10, color="#555"
            )
            ax.add_patch(arrow)
    _skips(ax, model, layers, blocks)
    w, end = 1.5 * images.shape[-1] / images.shape[-2], blocks[-1][0] + blocks[-1][1] + 0.75
    given = images[0].detach().reshape(-1, *images.shape[-3:])  # the frames of a clip: the last one in front
    steps = [0.1 * (i - len(given) + 1) for i in range(len(given))]
    shown = [(-2.75 + x, x, image) for x, image in zip(steps, given, strict=True)]
    for x, y, image in (*shown, (end, 0.0, model(images[:1])[0])):
        pixels = image.detach().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
        ax.imshow(pixels, extent=(x, x + w, -0.75 - y, 0.75 - y), interpolation="bilinear", zorder=3)
        ax.add_patch(Rectangle((x, -0.75 - y), w, 1.5, fill=False, ec="white", lw=0.6, zorder=3))
    ax.text(-3.0, 1.35, name, fontweight="bold", va="center", fontsize=11)
    ax.set_xlim(-3.05, 15.9)
    ax.set_ylim(-1.62, 1.72)
    ax.set_aspect("equal")
    _bare(ax)


def _label(shape: tuple[int, ...]) -> str:
    return f"{shape[0]:,}" if len(shape) == 1 else f"{shape[0]}\n{shape[2]}×{shape[1]}"


def _block(ax: Axes, left: float, width: float, height: float, colour: str, depth: float) -> None:
    right, top, low = left + width, height / 2, -height / 2
    ax.add_patch(Polygon([(left, low), (right, low), (right, top), (left, top)], color=colour, lw=0))
    for corners, alpha in (
        ([(left, top), (right, top), (right + depth, top + depth * 0.6), (left + depth, top + depth * 0.6)], 0.45),
        (
            [(right, low), (right, top), (right + depth, top + depth * 0.6), (right + depth, low + depth * 0.6)],
            0.65,
        ),
    ):
        ax.add_patch(Polygon(corners, facecolor=colour, alpha=alpha, lw=0))


def _skips(ax: Axes, model: nn.Module, layers: list[Layer], blocks: list[tuple[float, float, float]]) -> None:
    noise = next((part.noise for part in model.modules() if hasattr(part, "noise")), 0.0)
    for index, layer in enumerate(layers[1:], start=1):
        extra = layer.given[0] - layers[index - 1].returned[0]
        source = next((i for i, x in enumerate(layers[:index]) if x.returned == (extra, *layer.given[1:])), None)
        if extra <= 0 or source is None:
            continue
        (x0, w0, h0), (x1, w1, h1) = blocks[source + 1], blocks[index]
        top = max(h0, h1) / 2 + 0.28
        x0, x1 = x0 + w0 / 2 + 0.12, x1 + w1 / 2 + 0.05
        ax.plot([x0, x0, x1], [h0 / 2 + 0.13, top, top], color=COLOURS[2], lw=1.6, ls="--" if noise else "-")
        ax.add_patch(
            FancyArrowPatch((x1, top), (x1, h1 / 2 + 0.1), arrowstyle="-|>", mutation_scale=9, color=COLOURS[2])
        )
    if noise:
        ax.text(6.4, 1.56, f"skips + noise, std {noise:g}", ha="center", va="center", fontsize=9, color=COLOURS[2])


def flow_colours(flow: Tensor, top: float | None = None) -> Tensor:
    """Motion as colour: the hue is the direction (red: right; then clockwise), full colour is the speed `top`.

    (N, 2, H, W), (dx, dy) in pixels -> (N, 3, H, W) in [0, 1], white where nothing moves; `top` is in pixels, and
    else the 99th percentile of the speeds.
    """
    dx, dy = flow.detach().cpu().float().unbind(1)
    speed = torch.hypot(dx, dy)
    top = top or max(speed.flatten().quantile(0.99).item(), 1e-3)
    hue, full = torch.atan2(dy, dx) / (2 * math.pi) % 1, (speed / top).clamp(0, 1)
    colours = hsv_to_rgb(torch.stack([hue, full, torch.ones_like(full)], -1).numpy())
    return torch.from_numpy(colours).movedim(-1, 1)


def motion_sheet(frames: Tensor, flows: dict[str, Tensor], titles: Sequence[str] = ()) -> Figure:
    """Frames (N, 3, H, W) with arrows of the first of `flows`, and below them each of the flows as colours.

    flows: name -> (N, 2, H, W), (dx, dy) in pixels, all on one scale; a wheel shows which colour is which way.
    """
    top = max(torch.cat([f.norm(dim=1).flatten() for f in flows.values()]).quantile(0.99).item(), 0.1)
    columns, (high, wide) = len(frames), frames.shape[-2:]
    first, every = next(iter(flows.values())).cpu(), max(wide // 10, 1)
    cell, crisp = _cell(1 + len(flows), columns + 1, high / wide, 19), {"interpolation": "nearest"}  # a small file
    size = (cell * (columns + 0.8) + 0.5, (1 + len(flows)) * (cell * high / wide + 0.06) + 0.35)
    fig, axes = plt.subplots(1 + len(flows), columns + 1, squeeze=False, figsize=size)
    y, x = torch.meshgrid(*(torch.arange(every // 2, side, every) for side in (high, wide)), indexing="ij")
    for column, title in enumerate((*titles, *[""] * columns)[:columns]):
        axes[0, column].imshow(frames[column].detach().cpu().clamp(0, 1).movedim(0, 2).numpy(), **crisp)
        arrows = first[column][:, y, x]
        how = {"angles": "xy", "scale_units": "xy", "scale": top / (1.5 * every), "width": 0.012}
        axes[0, column].quiver(x, y, *arrows, color="#ffe100", edgecolor="black", linewidth=0.4, **how)
        axes[0, column].set(title=title, xlim=(-0.5, wide - 0.5), ylim=(high - 0.5, -0.5))
        for row, flow in enumerate(flows.values(), 1):
            colours = flow_colours(flow[column : column + 1], top)[0].movedim(0, 2)
            axes[row, column].imshow(colours.numpy(), **crisp)
    place = torch.linspace(-1, 1, 64)
    wheel = torch.stack(torch.meshgrid(place, place, indexing="xy"))[None]
    round_ = torch.where(wheel.norm(dim=1) <= 1, flow_colours(wheel, 1.0), 1.0)
    axes[1, -1].imshow(round_[0].movedim(0, 2).numpy(), **crisp)
    axes[1, -1].set_title(f"rim: {top:.1f} px", fontsize=9)
    for row, name in enumerate(("as arrows", *flows)):
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax in axes.flat:
        _bare(ax)
    return fig
