"""`python -m eon_utils`: the course from the command line."""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eon_utils.config import PRESETS, ROOT

EXAMPLES = """examples:
  python -m eon_utils run                                  every notebook, as a laptop does it
  python -m eon_utils run --preset smoke --only 02,03      two notebooks, in seconds
  python -m eon_utils run --only 02 -p seed=3 -p steps=500
  python -m eon_utils run --only 02 -p images=my_pictures
"""


# The commands. Each imports what it needs, so that `--help` and a wrong word are answered at once.


def run_notebooks(args: Namespace) -> int:
    from eon_utils.course import runner

    settings = pairs(args.settings)
    preset = settings.pop("preset", args.preset)
    _, status = runner.run(preset, args.only, settings, args.out, args.root)
    return status


def save_notebooks(args: Namespace) -> int:
    from eon_utils.course import publish

    if args.clean_only:
        publish.clean_notebooks(args.only, args.root)
        return 0
    return publish.save_notebooks(args.only, args.root)


def save_screenshots(args: Namespace) -> int:
    from eon_utils.course import publish

    publish.save_screenshots(args.root)
    return 0


def build_site(args: Namespace) -> int:
    from eon_utils.course import runner, site

    run = args.run or runner.latest_run(args.root / "runs")
    print(site.build_site(run, args.root / "notebooks"))
    return 0


def make_student(args: Namespace) -> int:
    from eon_utils.course import publish

    for path in publish.make_student(args.out or args.root / "student", args.root):
        print(path)
    return 0


def train_shipped(args: Namespace) -> int:
    from eon_utils.training import train_autoencoder

    mixture = pairs([[word] for word in args.mixture])
    train_autoencoder.train_all(args.only, args.seed, mixture=mixture)
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

    def command(name: str, run: Callable[[Namespace], int], text: str) -> Callable[..., Any]:
        new = commands.add_parser(name, help=text, description=text)
        new.set_defaults(run_command=run)
        root_help = "where notebooks/ is (default: this course)"
        new.add_argument("--root", type=Path, default=ROOT, help=root_help)
        return new.add_argument

    text = "run notebooks into runs/<time>, and build a site from them"
    add = command("run", run_notebooks, text)
    add("--preset", default="laptop", help=f"{', '.join(PRESETS)} (default: laptop)")
    add("--only", default="", metavar="02,03", help="only these notebooks")
    add(
        "-p",
        dest="settings",
        action="append",
        default=[],
        nargs="+",
        metavar="NAME=VALUE",
        help="set a parameter",
    )
    add("--out", type=Path, help="where to put the run (default: runs/<time>)")

    text = "run the committed notebooks under laptop, save their cleaned outputs in place"
    add = command("notebooks", save_notebooks, text)
    add("--only", default="", metavar="02", help="only these notebooks")
    add("--clean-only", action="store_true", help="run nothing, only clean")

    text = "write screenshots/ and the README's table from the committed notebooks"
    command("screenshots", save_screenshots, text)

    add = command("site", build_site, "build the site of a run again")
    add("run", nargs="?", type=Path, help="the run's folder (default: runs/latest)")

    text = "copy the notebooks with solutions emptied and outputs removed"
    add = command("student", make_student, text)
    add("--out", type=Path, help="where to (default: student/)")

    text = "train the shipped weights again, from nothing, into eon_utils/models/weights"
    add = command("prior", train_shipped, text)
    add("--only", default="", metavar="v2,prior", help="only these of v2, v3, v4, prior")
    add("--seed", type=int, default=0, help="default: 0, the shipped ones")
    text = "what the prior sees, and how often"
    add("--mixture", nargs="+", default=[], metavar="SOURCE=WEIGHT", help=text)
    return top


def pairs(arguments: Sequence[Sequence[str]]) -> dict[str, str]:
    """Settings typed after -p, by name: `-p seed=3 steps=5`, or as papermill has it, `-p seed 3`.

    Raises:
        ValueError: for anything else.

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
                raise ValueError(f"-p {word} says no value; write -p name=value, such as -p seed=3")
            settings[name] = value
    return settings


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = parser().parse_args(words)
    try:
        return args.run_command(args)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
