"""`python -m eon_utils`: the course from the command line."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eon_utils.config import PRESETS, ROOT, RUNS, check_seed

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from eon_utils.course import sweep

TRAINED = ("v2", "v3", "v4", "prior")
# Options that shape a prior; the recipes of autoencoders are settled.
OF_THE_PRIOR = (
    *("videos", "mixture", "score", "start", "shards", "learn"),
    *("steps", "batch", "size", "large_every", "width", "lr"),
)

REMEDIES = {  # of what the system says of a disk
    errno.EROFS: "choose another folder, or copy the course to where you may write",
    errno.ENOSPC: "make room",
}

EXAMPLES = """examples:
  python -m eon_utils run                                  every notebook, as a laptop does it
  python -m eon_utils run --preset smoke --only 02,03      two notebooks, in seconds
  python -m eon_utils run --only 02 -p seed=3 -p steps=500
  python -m eon_utils run --only 02 -p images=my_pictures
  python -m eon_utils sweep 02 -p noise=0,0.25,0.5 -p seed=0..4 --preset smoke
  python -m eon_utils sweep --plot "V4 / silenced code" --over noise runs/sweep_<time>
"""

SEVERAL_DEVICES = """several devices, here eight of one machine; --batch counts all processes:
  python -m eon_utils prior --devices 8 --batch 2048
  torchrun --nproc-per-node 8 -m eon_utils prior --batch 2048
  fabric run --devices 8 eon_utils/__main__.py prior --batch 2048
Under torchrun, fabric run and srun leave --devices and --num-nodes out: the launcher's hold.
fabric run takes --precision for itself, too. More: data/scaling.md.
"""


# The commands. Each imports what it needs, so that `--help` and a wrong word are answered at once.


def run_notebooks(args: Namespace) -> int:
    from eon_utils.course import runner

    if args.resume:
        if args.only or args.settings or args.out or args.preset:
            raise ValueError("--resume goes on as the run began: leave the other options out")
        _, status = runner.resume(args.resume, args.root, args.workers)
        return status
    settings = pairs(args.settings)
    preset = settings.pop("preset", args.preset or "laptop")
    _, status = runner.run(preset, args.only, settings, args.out, args.root, args.workers)
    return status


def sweep_notebook(args: Namespace) -> int:
    from eon_utils.course import sweep

    if (args.plot or args.over) and args.notebook and not args.settings:
        return _plot_sweep(_path(args.notebook), args)
    cluster = sweep.Cluster(args.scheduler, args.workers, args.retries)
    if args.resume:
        if args.out or (not args.notebook and (args.settings or args.preset)):
            remedy = "leave the other options out, or name the notebook too"
            raise ValueError(f"--resume goes on as the sweep began: {remedy}")
        asked = _sweep_asked(args) if args.notebook else None
        out, status = sweep.resume(args.resume, asked, cluster, args.root)
    else:
        out, status = sweep.start(_sweep_asked(args), args.out, cluster, args.root)
    if args.plot or args.over:
        _plot_sweep(out, args)
    return status


def _plot_sweep(out: Path, args: Namespace) -> int:
    from eon_utils.course import sweep_report

    print(f"Figure: {sweep_report.plot(out, args.plot, args.over)}")
    return 0


def _sweep_asked(args: Namespace) -> sweep.Sweep:
    from eon_utils.course import sweep

    settings = pairs(args.settings, example="seed=0..4")
    asked = sweep.ask(args.notebook, settings, args.preset or "laptop", args.root)
    if args.over and args.over not in asked.axes:
        there_are = ", ".join(asked.axes)
        raise ValueError(f"--over {args.over} is no parameter of this sweep; it has: {there_are}")
    return asked


def save_notebooks(args: Namespace) -> int:
    from eon_utils.course import publish

    if args.clean_only:
        publish.clean_notebooks(args.only, args.root)
        return 0
    return publish.save_notebooks(args.only, args.root)


def save_screenshots(args: Namespace) -> int:
    from eon_utils.course import publish

    executed = sorted(args.run.glob("*.ipynb")) if args.run else []
    if args.run and not executed:
        raise FileNotFoundError(f"--run {args.run} holds no executed notebook; give a run's folder")
    publish.save_pages(args.root, executed)
    return 0


def build_site(args: Namespace) -> int:
    from eon_utils.course import runner, site

    try:
        run = args.run or runner.latest_run(args.root / "runs")
    except FileNotFoundError:  # nothing ran yet
        run = None
    print(site.build_site(run, args.root))
    return 0


def build_slides(args: Namespace) -> int:
    from eon_utils.course import slides

    print(slides.build_slides(args.only, args.run, args.out, args.root))
    return 0


def make_student(args: Namespace) -> int:
    from eon_utils.course import publish

    for path in publish.make_student(args.out or args.root / "student", args.root):
        print(path)
    return 0


def train_weights(args: Namespace) -> int:
    from eon_utils.data.files import check_writable

    check_seed(args.seed)
    names = [name.strip() for name in args.only.split(",") if name.strip()]
    unknown = [name for name in names if name not in TRAINED]
    if unknown or not names:
        raise ValueError(f"--only {', '.join(unknown)} is unknown; choose of {', '.join(TRAINED)}")
    if args.out.is_file():
        raise ValueError(f"--out {args.out} is a file; give a folder")
    check_writable(args.out, "--out")  # now, not after hours of training
    remedy = "copy the course to where you may write"
    check_writable(RUNS / "prior", "the folder of clips and checkpoints", remedy)
    if "prior" not in names:
        _check_of_autoencoders(args)
    from eon_utils.training.launchers import several_processes

    fabric = several_processes(args.devices, args.num_nodes, args.precision)
    if not fabric.is_global_zero:
        warnings.simplefilter("ignore")  # the first process gives the same ones
    autoencoders = [name for name in names if name != "prior"]
    if autoencoders and not _train_autoencoders(autoencoders, args, fabric):
        return 0  # the first process says why
    if "prior" in names:
        _train_prior(args, fabric)
    return 0


def _check_of_autoencoders(args: Namespace) -> None:
    """Refuse what would be dropped in silence."""
    usual = parser().parse_args(["prior"])
    given = [name for name in OF_THE_PRIOR if getattr(args, name) != getattr(usual, name)]
    if given:
        options = ", ".join(_option(name) for name in given)
        raise ValueError(f"autoencoders take no {options}; leave out what is of the prior alone")


def _option(name: str) -> str:
    return "--from" if name == "start" else f"--{name.replace('_', '-')}"


def _train_autoencoders(names: Sequence[str], args: Namespace, fabric: Fabric) -> bool:
    from eon_utils.training import train_autoencoder

    return train_autoencoder.train_all(
        names,
        args.seed,
        args.scale,
        args.out,
        fabric=fabric,
        hours=args.hours,
        resume=args.resume,
    )


def _train_prior(args: Namespace, fabric: Fabric) -> None:
    from eon_utils.data.files import alone_in
    from eon_utils.training import train_prior
    from eon_utils.training.launchers import precision_of

    words = pairs([[word] for word in args.mixture], "--mixture", "leaves=5")
    mixture = tuple(train_prior.parse_mixture(words).items()) if words else None
    recipe = train_prior.Recipe(
        videos=tuple(args.videos),
        mixture=mixture,
        width=args.width,
        steps=args.steps,
        batch=args.batch,
        size=args.size,
        large_every=args.large_every,
        hours=args.hours,
        lr=args.lr,
        seed=args.seed,
        start=args.start,
        scale=args.scale,
        precision=precision_of(fabric),
        shards=args.shards,
        learn=args.learn,
    )
    first = fabric.is_global_zero
    recipe.check(fabric.world_size)
    if first and not args.videos and not args.shards:
        print(
            "No --videos: the prior trains on generated clips alone. Measured, such a network is"
            " worse than classical flow on camera video.",
            flush=True,
        )
    folder = RUNS / "prior"
    with alone_in(folder, recipe.digest()) if first else nullcontext():
        train_prior.ship(
            recipe, args.out, folder, score=args.score, fabric=fabric, resume=args.resume
        )
    if first:
        path = args.out / "prior.safetensors"
        print(f"The prior is in {path}, its model card beside it. To use it:")
        print(f"  in Python     eon.load_prior({str(path)!r})")
        print(f"  in notebooks  python -m eon_utils run --only 05,06 -p weights={path.resolve()}")


def make_shards(args: Namespace) -> int:
    from eon_utils.data import shards
    from eon_utils.data.clips import check_whole
    from eon_utils.data.files import alone_in
    from eon_utils.training import train_prior

    check_seed(args.seed)
    shards.litdata()  # a missing package is told before videos are decoded
    check_whole("workers", args.workers, 1)
    words = pairs([[word] for word in args.mixture], "--mixture", "leaves=5")
    mixture = train_prior.parse_mixture(words) if words else None
    sources = train_prior.shard_sources(
        args.clips, args.seed, args.size, mixture, tuple(args.videos)
    )
    asked = {name: getattr(args, name) for name in ("clips", "seed", "size", "videos")}
    asked["mixture"] = {source.name: len(source) for source in sources}
    names = [source.name for source in sources]
    todo = shards.begin_shards(args.out, asked, names)
    with alone_in(args.out):
        for source in sources:
            kept = "" if source.name in todo else ", which are there"
            print(f"{source.name}: {len(source):,} clips{kept}", flush=True)
            if source.name in todo:
                shards.write_shards(source, args.out / source.name, args.workers)
    print(f"To train on them: python -m eon_utils prior --shards {args.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line, with a help text for each command."""
    top = argparse.ArgumentParser(
        prog="python -m eon_utils",
        description="Eye of Newt: run the notebooks headless, and make what is made from them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[Namespace], int], text: str, epilog: str = ""
    ) -> Callable[..., Any]:
        raw = argparse.RawDescriptionHelpFormatter
        new = commands.add_parser(
            name, help=text, description=text, epilog=epilog, formatter_class=raw
        )
        new.set_defaults(run_command=run)
        root_help = "where notebooks/ is (default: this course)"
        new.add_argument("--root", type=_path, default=ROOT, help=root_help)
        return new.add_argument

    text = "run notebooks into runs/<time>, and build a site from them"
    add = command("run", run_notebooks, text)
    add("--preset", default="", help=f"{', '.join(PRESETS)} (default: laptop)")
    add("--only", default="", metavar="02,03", help="only these notebooks")
    _add_settings(add, "NAME=VALUE", "set a parameter")
    add("--out", type=_path, help="where to put the run (default: runs/<time>)")
    text = "go on with a run that was stopped: what ran through is kept"
    add("--resume", type=_path, metavar="FOLDER", help=text)
    text = "so many notebooks at a time, each with its share of the cores (default: 1)"
    add("--workers", type=int, default=1, help=text)

    text = "run a notebook with every combination of some parameters' values"
    add_sweep_options(command("sweep", sweep_notebook, text))

    text = "run the committed notebooks under laptop, save their cleaned outputs in place"
    add = command("notebooks", save_notebooks, text)
    add("--only", default="", metavar="02", help="only these notebooks")
    add("--clean-only", action="store_true", help="run nothing, only clean")

    text = "write screenshots/, RESULTS.md and the README's tables from the committed notebooks"
    add = command("screenshots", save_screenshots, text)
    text = "the moving picture, too: from the scrubber of notebook 02 in this folder of a run"
    add("--run", type=_path, metavar="FOLDER", help=text)

    text = "the run's folder (default: runs/latest; if nothing ran yet, the committed notebooks)"
    add = command("site", build_site, "build the site of a run, or of the committed notebooks")
    add("run", nargs="?", type=_path, help=text)

    text = "build slides of the lessons, and a handout, from the committed notebooks"
    add = command("slides", build_slides, text)
    add("--only", default="", metavar="02,03", help="only these lessons")
    add("--run", type=_path, metavar="FOLDER", help="from the notebooks of this run")
    add("--out", type=_path, metavar="FOLDER", help="where to (default: build/slides)")

    text = "copy the notebooks without solutions and outputs"
    add = command("student", make_student, text)
    add("--out", type=_path, help="where to (default: student/)")

    text = "train the prior, on videos of yours; or again what else ships"
    add_prior_options(command("prior", train_weights, text, SEVERAL_DEVICES))

    text = "write clips into shards, from which trainings of any number of machines stream them"
    add = command("shards", make_shards, text)
    text = "folders or files of real video (default: none, generated clips alone)"
    add("--videos", nargs="+", default=[], metavar="PATH", help=text)
    text = "of which sources, and how many of each, as for the command prior"
    add("--mixture", nargs="+", default=[], metavar="SOURCE=WEIGHT", help=text)
    add("--clips", type=int, default=100_000, help="in all (default: 100,000)")
    add("--size", type=int, default=64, help="side of the frames in pixels (default: 64)")
    add("--seed", type=int, default=0, help="of the clips (default: 0)")
    add("--workers", type=int, default=1, help="processes that make them (default: 1)")
    add("--out", type=_path, required=True, metavar="FOLDER", help="a folder for each source")
    return top


def _path(text: str) -> Path:
    """A path as it is typed; a shell leaves ~ alone in --out=~/mine."""
    return Path(text).expanduser()


def _add_settings(add: Callable[..., Any], metavar: str, text: str) -> None:
    listed = {"action": "append", "default": [], "nargs": "+"}
    add("-p", dest="settings", metavar=metavar, help=text, **listed)


def add_sweep_options(add: Callable[..., Any]) -> None:
    """Options of the command that sweeps.

    Args:
        add: adds one, as `add_argument` of a parser does.
    """
    text = "the notebook's number, such as 02; or, with --plot, the folder of a finished sweep"
    add("notebook", nargs="?", default="", metavar="NOTEBOOK", help=text)
    text = "a parameter's values, such as noise=0,0.1,0.25 or seed=0..4"
    _add_settings(add, "NAME=VALUES", text)
    add("--preset", default="", help=f"{', '.join(PRESETS)} (default: laptop)")
    add("--out", type=_path, help="where to put the sweep (default: runs/sweep_<time>)")
    text = "go on with a sweep that was stopped: what ran through is kept"
    add("--resume", type=_path, metavar="FOLDER", help=text)
    text = "address of a Dask scheduler (default: workers on this machine)"
    add("--scheduler", default="", metavar="tcp://...", help=text)
    add("--workers", type=int, help="so many, on this machine (default: one for each core)")
    add("--retries", type=int, default=0, help="of a failed run (default: 0)")
    text = "draw a measured value; given several times, several"
    add("--plot", action="append", default=[], metavar="VALUE", help=text)
    text = "over this parameter (default: the first with several values)"
    add("--over", default="", metavar="NAME", help=text)


def add_prior_options(add: Callable[..., Any]) -> None:
    """Options of the command that trains.

    Args:
        add: adds one, as `add_argument` of a parser does.
    """
    text = "prior (default), or of the autoencoders v2, v3, v4"
    add("--only", default="prior", metavar="prior|v2,v3,v4", help=text)
    text = "folders or files of real video (default: none, generated clips alone)"
    add("--videos", nargs="+", default=[], metavar="PATH", help=text)
    text = "what is drawn, and how often: real, digits, leaves, pans, games, and, where their files"
    text += " are, MovingMNIST, UCF101; others are left out"
    add("--mixture", nargs="+", default=[], metavar="SOURCE=WEIGHT", help=text)
    text = "folder of videos to judge by while it trains (default: held-out generated clips)"
    add("--score", metavar="FOLDER", help=text)
    text = "where the weights go (default: runs/prior; the shipped ones: eon_utils/models/weights)"
    add("--out", type=_path, default=RUNS / "prior", metavar="FOLDER", help=text)
    text = "weights to go on from: prior, the shipped ones, or a file (default: from nothing)"
    add("--from", dest="start", default="", metavar="prior|FILE", help=text)
    text = "folder of clips that were written by the command shards, instead of videos"
    add("--shards", default="", metavar="FOLDER", help=text)
    text = "all (default); frames: all but the content encoder, which stays; or content: a content"
    text += " encoder from nothing, beside --from's network"
    add("--learn", default="all", metavar="all|frames|content", help=text)
    text = "go on from the checkpoint of the same settings (default: yes)"
    add("--resume", action=argparse.BooleanOptionalAction, default=True, help=text)
    text = "end a training after so long (default: the steps decide)"
    add("--hours", type=float, help=text)
    add("--steps", type=int, default=400_000, help="updates at most (default: 400,000)")
    add("--batch", type=int, default=16, help="clips a step, of all processes (default: 16)")
    add("--size", type=int, default=64, help="side of the frames, times 16 pixels (default: 64)")
    text = "one step of so many is of clips of twice the size (default: 7; 0: none)"
    add("--large-every", type=int, default=7, metavar="STEPS", help=text)
    add("--width", type=int, default=24, help="channels at full size (default: 24)")
    add("--lr", type=float, default=5e-4, help="learning rate (default: 5e-4)")
    add("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    text = "share of the clips that are made and kept; of an autoencoder's pictures and steps"
    add("--scale", type=float, default=1.0, help=text)
    text = "GPUs of a machine or, without any, processes (default: the launcher's, or 1)"
    add("--devices", type=int, help=text)
    add("--num-nodes", type=int, help="machines (default: the launcher's, or 1)")
    add("--precision", help="32-true (default, without that of fabric run) or bf16-mixed")


def pairs(
    arguments: Sequence[Sequence[str]], option: str = "-p", example: str = "seed=3"
) -> dict[str, str]:
    """Settings typed after -p, by name: `-p seed=3 steps=5`, or as papermill has it, `-p seed 3`.

    Args:
        arguments: the words after each -p.
        option: its name, for the error's message.
        example: of a setting, for the error's message.

    Raises:
        ValueError: for anything else, and for a name that is there twice.

    Examples:
        >>> pairs([["seed=3", "steps=5"], ["noise", "0.5"]])
        {'seed': '3', 'steps': '5', 'noise': '0.5'}
    """
    settings = {}
    for words in arguments:
        if len(words) == 2 and "=" not in words[0]:
            words = ["=".join(words)]
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or not name:
                wanted = f"write {option} name=value, such as {option} {example}"
                raise ValueError(f"{option} {word} says no value; {wanted}")
            if name in settings:
                raise ValueError(f"{option} {name} is given twice; leave one out")
            settings[name] = value
    return settings


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # any name is shown, whatever the terminal can show
            stream.reconfigure(errors="backslashreplace")
    args = parser().parse_args(words)
    try:
        return args.run_command(args)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
        # Of several processes one says it, but of those that lost touch with another each does.
        if int(rank) == 0 or isinstance(error, ConnectionError):
            print(f"error: {_in_words(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130


def _in_words(error: Exception) -> str:
    """What an error says; of the system's own the file and what to do, in place of a number."""
    number = getattr(error, "errno", None)
    if number is None or not isinstance(error, OSError) or error.filename is None:
        return str(error)
    remedy = REMEDIES.get(number, "")
    return f"{error.filename}: {error.strerror}" + (f"; {remedy}" if remedy else "")


if __name__ == "__main__":
    sys.exit(main())
