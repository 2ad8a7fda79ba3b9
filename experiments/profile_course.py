"""Where the course's time and memory go, and how both grow with the size of the work.

    python experiments/profile_course.py [--threads 2] [--out data/] [--only sizes shares settings]

Three tables. "sizes": seconds and memory of training steps, predictions, sources of clips and the
reader of videos, by size. "shares": which operations a training step and a prediction consist of,
and how near they come to the rate at which this machine multiplies matrices. "settings": what other
ways to compute the same would buy, in pairs of calls that take turns, so that whatever else the
machine does hits both. Each measurement has a process of its own.

Writes profile_sizes.csv, profile_shares.csv, profile_settings.csv and profile.png into the folder,
and their tables into its scaling.md, if there is one. A quiet machine of two cores takes a quarter
of an hour.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from workloads import WORKS, Setting, Size, Work

import eon_utils as eon
from eon_utils.config import device
from eon_utils.course.pages import filled
from eon_utils.data.files import whole_file

FIGURE = "profile.png"
PARTS = ("sizes", "shares", "settings")
LEAST = 3  # calls in a measurement
PAIRS = 5  # of calls, at least, to compare two settings
DECADE = 10
STEEP = 1.15  # a slope above it is a finding
FITTED = 3  # largest sizes that a slope is fitted to
MEBIBYTE = 2**20
GEMM_SIDE = 1024  # of the matrices by which the machine is judged
PAYS = 0.9  # share of the time that a setting must stay below
Row = dict[str, Any]


class Axis(NamedTuple):
    """Sizes of one kind that some works are measured at."""

    field: str  # of `Size`
    title: str
    values: dict[str, tuple[int, ...]]  # work -> sizes
    base: Size  # what the others are


SIDES = (64, 128, 256, 512)
MADE = (8, 32, 128)
AXES = {
    "by pixels": Axis(
        "side",
        "side of a frame [pixels]",
        {
            "V4 step": SIDES,
            "autoencoder step": SIDES,
            "autoencoder": SIDES[:3],
            "prior step": SIDES,
            "predict": SIDES,
        },
        Size(batch=1),
    ),
    "by number at once": Axis(
        "batch",
        "pictures or clips at once",
        {
            "V4 step": (4, 16, 64),
            "autoencoder step": (4, 16, 64),
            "autoencoder": (1, 4, 16),
            "prior step": (1, 4, 16),
            "predict": (1, 4, 16, 64),
        },
        Size(),
    ),
    "by length of clips": Axis(
        "frames",
        "frames of a clip",
        {"prior step": (7, 14, 28), "predict": (4, 16, 64), "features": (4, 16, 64)},
        Size(batch=2),
    ),
    "by clips made": Axis("batch", "clips made", dict.fromkeys(eon.SOURCES, MADE), Size(frames=5)),
    "by length of video": Axis(
        "frames", "frames of a video", {"video": (100, 200, 400, 800)}, Size()
    ),
}
SHARES = {
    "02: V4 step": ("V4 step", Size(side=128, batch=3)),
    "03: autoencoder step": ("autoencoder step", Size(batch=32)),
    "05: prior step": ("prior step", Size(batch=8)),
    "predict": ("predict", Size(batch=1, frames=4)),
    "flow": ("flow", Size(batch=1, frames=4)),
    "features": ("features", Size(batch=1, frames=4)),
}
KINDS = {  # of operations, by parts of their names; the first that fits
    "convolution": ("conv",),
    "matrix product": ("mm", "matmul", "addmv", "linalg", "dot"),
    "reading between pixels": ("grid_sampler", "upsample", "interpolate"),
    "normalization": ("norm",),
    "sorting": ("topk", "sort", "median", "kthvalue"),
    "sums, means": ("sum", "mean", "amax", "amin", "aminmax", "all", "any", "prod", "softmax"),
    "optimizer": ("adam", "foreach", "lerp_"),
    "copies": ("copy", "cat", "index", "clone", "fill", "zero", "im2col", "pad", "flip", "gather"),
    "number by number": ("",),
}
CHANGES = {
    "channels_last": {"channels_last": True},
    "foreach": {"optimizer": "foreach"},
    "loop over weights": {"optimizer": "loop"},
    "bf16": {"bf16": True},
    "one thread": {"threads": 1},
    "compiled": {"compiled": True},
    "inference mode": {"inference": True},
}
TRAINING = ("channels_last", "foreach", "loop over weights", "bf16", "one thread")
SETTINGS = {
    "02: V4 step": (*TRAINING, "compiled"),
    "03: autoencoder step": (*TRAINING[1:], "compiled"),  # ships as channels_last
    "05: prior step": TRAINING,
    "predict": ("channels_last", "bf16", "one thread", "inference mode"),
}


# --- measurements, each in a process of its own ---


def seconds_of(work: Work) -> float:
    """Of one call."""
    start = time.perf_counter()
    work()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory() -> float:
    """The most that this process has held so far, in MiB; on a GPU, of that one's memory."""
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated() / MEBIBYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEBIBYTE if sys.platform == "darwin" else peak / 1024


def measure_size(work: str, size: list[int], seconds: float) -> Row:
    """Median seconds of a call, and by how much calls raise the peak of memory."""
    call = WORKS[work](Size(*size), Setting())
    before = peak_memory()
    first = seconds_of(call)
    memory = peak_memory() - before
    times = []
    while len(times) < LEAST or sum(times) < seconds:
        times.append(seconds_of(call))
    return {"seconds": statistics.median(times), "first": first, "MiB": round(memory, 1)}


def measure_share(work: str, size: list[int], seconds: float) -> Row:
    """Of a call: seconds, share of each kind of operation, and share of the GEMM rate."""
    call = WORKS[work](Size(*size), Setting())
    call()
    with FlopCounterMode(display=False) as counter:
        call()
    times = []
    while len(times) < LEAST or sum(times) < seconds:
        times.append(seconds_of(call))
    took = statistics.median(times)
    rate = counter.get_total_flops() / took
    on_gpu = device().type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    for _ in range(2):  # the first time the profiler is slow itself
        with profile(activities=activities) as profiled:
            whole = seconds_of(call)
    spent, operations = seconds_by_kind(profiled.key_averages(), on_gpu)
    between = max(whole - sum(spent.values()), 0)
    shares = {kind: round(100 * part / whole, 1) for kind, part in spent.items()}
    return {
        "seconds": took,
        "operations": operations,
        **shares,
        "between operations": round(100 * between / whole, 1),
        "GFLOP/s": rate / 1e9,
        "share of GEMM": round(100 * rate / gemm_rate(), 1),
    }


def seconds_by_kind(events: Iterable[Any], on_gpu: bool) -> tuple[dict[str, float], int]:
    """What each kind of operation took, and how many operations there were.

    Args:
        events: of the profiler, averaged by their names.
        on_gpu: the time is that of the kernels which an operation launches, not that of launching
            them; an operation that launches none, such as a view, does not count.
    """
    spent = dict.fromkeys(KINDS, 0.0)
    operations = 0
    for event in events:
        if event.device_type != DeviceType.CPU:
            continue  # a kernel: the operation that launches it has its time already
        took = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if on_gpu and not took:
            continue
        name = event.key.lower()
        kind = next(kind for kind, words in KINDS.items() if any(word in name for word in words))
        spent[kind] += took / 1e6
        operations += event.count
    return spent, operations


def gemm_rate() -> float:
    """How many floating-point operations a second a product of large matrices reaches."""
    left, right = torch.rand(2, GEMM_SIDE, GEMM_SIDE, device=device())
    times = [seconds_of(lambda: left @ right) for _ in range(2 * PAIRS)]
    return 2 * GEMM_SIDE**3 / statistics.median(times)


def measure_setting(work: str, size: list[int], change: str, seconds: float) -> Row:
    """The ratio of two settings' times: the median of pairs of calls, which take turns."""
    setting = Setting(**CHANGES[change])
    usual = WORKS[work](Size(*size), Setting())
    other = WORKS[work](Size(*size), setting)
    threads = torch.get_num_threads()

    def with_its_threads() -> None:
        torch.set_num_threads(setting.threads or threads)
        other()
        torch.set_num_threads(threads)

    usual()
    warm_up = seconds_of(with_its_threads)
    pairs = []
    spent = 0.0
    while len(pairs) < PAIRS or spent < 2 * seconds:
        calls = [usual, with_its_threads]
        turn = len(pairs) % 2  # who goes first
        times = [seconds_of(call) for call in (calls[::-1] if turn else calls)]
        pairs.append(times[::-1] if turn else times)
        spent += sum(times)
    before, after = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(two / one for one, two in pairs)
    row = {"seconds": before, "with it": after, "ratio": ratio, "pairs": len(pairs)}
    if setting.compiled:
        row["compiling"] = warm_up
        row["breaks even after"] = round(warm_up / (before - after)) if after < before else ""
    return row


MEASURES: dict[str, Callable[..., Row]] = {
    "sizes": measure_size,
    "shares": measure_share,
    "settings": measure_setting,
}


def in_a_process(part: str, threads: int, **settings: object) -> Row:
    """A measurement by a fresh process."""
    order = json.dumps({"part": part, "threads": threads, **settings})
    command = [sys.executable, __file__, "--measure", order]
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise RuntimeError(f"{settings} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def obey(order: str) -> None:
    """Measure what is asked for, and print it as JSON."""
    asked = json.loads(order)
    torch.set_num_threads(asked.pop("threads"))
    torch.manual_seed(0)
    print(json.dumps(MEASURES[asked.pop("part")](**asked)))


# --- tables ---


def chosen(names: Iterable[str], args: argparse.Namespace) -> list[str]:
    """Those of the works, or of their titles, that `--works` asks for."""
    return [name for name in names if SHARES.get(name, (name,))[0] in args.works]


def sizes(args: argparse.Namespace) -> Iterable[Row]:
    """A row for each work and size."""
    for name, axis in AXES.items():
        for work in chosen(axis.values, args):
            for value in axis.values[work][: args.most]:
                size = axis.base._replace(**{axis.field: value})
                row = {"axis": name, "work": work, **size._asdict()}
                found = in_a_process(
                    "sizes", args.threads, work=work, size=size, seconds=args.seconds
                )
                yield row | found


def shares(args: argparse.Namespace) -> Iterable[Row]:
    """A row for each work."""
    for name in chosen(SHARES, args):
        work, size = SHARES[name]
        settings = {"work": work, "size": size, "seconds": args.seconds}
        yield {"work": name} | in_a_process("shares", args.threads, **settings)


def settings(args: argparse.Namespace) -> Iterable[Row]:
    """A row for each work and change."""
    for name in chosen(SETTINGS, args):
        work, size = SHARES[name]
        for change in SETTINGS[name][: args.most]:
            settings = {"work": work, "size": size, "change": change, "seconds": args.seconds}
            found = in_a_process("settings", args.threads, **settings)
            empty = {"compiling": "", "breaks even after": ""}
            yield {"work": name, "change": change} | empty | found


TABLES: dict[str, Callable[[argparse.Namespace], Iterable[Row]]] = {
    "sizes": sizes,
    "shares": shares,
    "settings": settings,
}


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """A CSV file, or nothing."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


class Line(NamedTuple):
    """How a work grows along an axis."""

    amount: list[float]  # pixels, clips or frames
    values: list[float]
    slope: float  # of the logarithms, at the largest sizes


def lines_of(rows: Sequence[Row], axis: str, value: str) -> dict[str, Line]:
    """Work -> its line; values that are not above 0 are left out."""
    field = AXES[axis].field
    lines = {}
    for work in AXES[axis].values:
        points = []
        for row in rows:
            if row["axis"] == axis and row["work"] == work and row[value] > 0:
                amount = row[field] ** 2 if field == "side" else row[field]
                points.append((float(amount), float(row[value])))
        if len(points) > 1:
            amounts, values = (list(numbers) for numbers in zip(*points, strict=True))
            last = np.log([amounts[-FITTED:], values[-FITTED:]])
            lines[work] = Line(amounts, values, float(np.polyfit(*last, 1)[0]))
    return lines


def sizes_table(rows: Sequence[Row]) -> str:
    """Smallest and largest size of each work, and the slopes of time and memory."""
    titles = ["what", "grows", "from", "to", "seconds", "slope", "MiB", "slope of memory"]
    table = [titles]
    for axis in AXES:
        times = lines_of(rows, axis, "seconds")
        memory = lines_of(rows, axis, "MiB")
        for work, line in times.items():
            held = memory.get(work)
            table.append(
                [
                    work,
                    axis,
                    f"{line.amount[0]:,.0f}",
                    f"{line.amount[-1]:,.0f}",
                    f"{line.values[0]:.3g} to {line.values[-1]:.3g}",
                    _marked(line.slope),
                    f"{held.values[0]:.0f} to {held.values[-1]:.0f}" if held else "",
                    _marked(held.slope) if held else "",
                ]
            )
    return markdown(table)


def _marked(slope: float) -> str:
    return f"**{slope:.2f}**" if slope > STEEP else f"{slope:.2f}"


def shares_table(rows: Sequence[Row]) -> str:
    """A line a kind of operation, a column a work."""
    table = [["share of the time [%]", *(row["work"] for row in rows)]]
    for kind in [*KINDS, "between operations"]:
        table.append([kind, *(f"{row[kind]:.0f}" for row in rows)])
    table.append(["operations", *(f"{row['operations']:,}" for row in rows)])
    table.append(["milliseconds", *(f"{1000 * row['seconds']:.0f}" for row in rows)])
    table.append(["GFLOP/s", *(f"{row['GFLOP/s']:.1f}" for row in rows)])
    of_peak = [f"{row['share of GEMM']:.1f}" for row in rows]
    table.append(["of the rate of large products [%]", *of_peak])
    return markdown(table)


def settings_table(rows: Sequence[Row]) -> str:
    """A line for each change; what pays is in bold."""
    table = [["what", "change", "ms as it is", "ms with it", "ratio", "pays after"]]
    for row in rows:
        ratio = f"{row['ratio']:.2f}"
        after = row["breaks even after"]
        table.append(
            [
                row["work"],
                row["change"],
                f"{1000 * row['seconds']:.1f}",
                f"{1000 * row['with it']:.1f}",
                f"**{ratio}**" if row["ratio"] < PAYS else ratio,
                f"{after:,} steps" if after != "" else "",
            ]
        )
    return markdown(table)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A table; numbers to the right."""
    rule = ["---", *["---:"] * (len(table[0]) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [table[0], rule, *table[1:]])


MARKDOWN = {"sizes": sizes_table, "shares": shares_table, "settings": settings_table}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Time and memory over size, both logarithmic, with the slopes at the largest sizes."""
    titles = []
    for axis in AXES:
        titles += [f"time, {axis}", f"memory, {axis}"]
    figure, axes = eon.panels(titles, size=(5.6, 2.6))
    left = iter(axes)
    for name, axis in AXES.items():
        for value, unit in (("seconds", "seconds"), ("MiB", "MiB")):
            ax = next(left)
            lines = lines_of(rows, name, value)
            if not lines:
                continue
            series = {work: (line.amount, line.values) for work, line in lines.items()}
            title = axis.title if axis.field != "side" else "pixels of a frame"
            _show_as_flat(ax, list(lines.values()))
            eon.curves(series, title, unit, ax, log="xy", marker="o")
            for text in ax.texts:  # the names at the ends of the lines
                text.set_text(f"{text.get_text()} {lines[text.get_text()].slope:.2f}")
            _number_axes(ax, list(lines.values()))
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=92, facecolor="white", bbox_inches="tight")


def _number_axes(ax: Axes, lines: Sequence[Line]) -> None:
    """Plain numbers: at the sizes that were measured, and a few up the side."""
    amounts = max((line.amount for line in lines), key=len)
    ax.set_xticks(amounts, [f"{amount:,.0f}" for amount in amounts])
    values = [value for line in lines for value in line.values]
    few = max(values) / min(values) < DECADE**1.5
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(NullLocator())


def _show_as_flat(ax: Axes, lines: Sequence[Line]) -> None:
    """A decade up the side at least: what hardly grows shall look so."""
    values = [value for line in lines for value in line.values]
    if max(values) < DECADE * min(values):
        middle = (min(values) * max(values)) ** 0.5
        ax.set_ylim(middle / DECADE**0.5, middle * DECADE**0.5)


def machine(threads: int) -> str:
    """What measured, in a sentence."""
    where = torch.cuda.get_device_name() if device().type == "cuda" else "CPU"
    count = f"{threads} thread{'s' * (threads > 1)}"
    return f"Measured on {where} with {count}, PyTorch {torch.__version__}."


def report(part: str, rows: list[Row], args: argparse.Namespace) -> None:
    """Write a table, and a figure of sizes, and put them into scaling.md."""
    table = MARKDOWN[part](rows)
    print(f"\n{table}", flush=True)
    if part == "sizes":
        draw(rows, args.out / FIGURE)
        table += (
            f"\n\n![Time and memory by size, both logarithmic; the numbers are slopes]({FIGURE})"
        )
    page = args.out / "scaling.md"
    if page.exists():
        parts = {"profile machine": machine(args.threads), f"profile {part}": table}
        text = filled(page.read_text(encoding="utf-8"), parts)
        with whole_file(page) as partial:
            partial.write_text(text, encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = common.parser(__doc__)
    options.add_argument("--threads", type=int, default=2, help="to compute with (2)")
    options.add_argument("--seconds", type=float, default=0.7, help="a measurement (0.7)")
    options.add_argument("--most", type=int, default=9, help="sizes and changes of a work (all)")
    options.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="tables (all)")
    options.add_argument(
        "--works", nargs="+", choices=WORKS, default=list(WORKS), help="works (all of them)"
    )
    options.add_argument("--out", type=Path, default=Path("data"), help="folder (data)")
    options.add_argument("--measure", help="one measurement, as JSON, in this process (none)")
    return options


def main() -> None:
    """Measure, write, draw."""
    args = parser().parse_args()
    if args.measure:
        obey(args.measure)
        return
    matplotlib.use("agg")
    args.out.mkdir(parents=True, exist_ok=True)
    for part in args.only:
        rows = []
        for row in TABLES[part](args):
            rows.append(row)
            what = row.get("change") or row.get("axis") or part
            print(f"{row['work']}, {what}: {1000 * row['seconds']:.1f} ms", flush=True)
            write_rows(rows, args.out / f"profile_{part}.csv")  # kept if this is cut short
        if rows:
            report(part, rows, args)


if __name__ == "__main__":
    main()
