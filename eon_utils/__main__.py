"""`python -m eon_utils`: the course from the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eon_utils.config import PRESETS, ROOT
from eon_utils.course import publish as release
from eon_utils.course import runner as course
from eon_utils.course.site import build_site
from eon_utils.training import train_autoencoder as recipes

EXAMPLES = """examples:
  python -m eon_utils run                                  every notebook, as a laptop does it
  python -m eon_utils run --preset smoke --only 02,03      two notebooks, in seconds
  python -m eon_utils run --only 02 -p seed=3 -p steps=500
  python -m eon_utils run --only 02 -p images=my_pictures
"""


def parser() -> argparse.ArgumentParser:
    """The command line, with a help text for each command."""
    top = argparse.ArgumentParser(
        prog="python -m eon_utils",
        description="Eye of Newt: run the notebooks headless, and make what is made from them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        new = commands.add_parser(name, help=text, description=text)
        new.add_argument("--root", type=Path, default=ROOT, help="where notebooks/ is (default: this course)")
        return new

    new = add("run", "run notebooks into runs/<time>, and build a site from them")
    new.add_argument("--preset", default="laptop", help=f"{', '.join(PRESETS)} (default: laptop)")
    new.add_argument("--only", default="", metavar="02,03", help="only these notebooks")
    new.add_argument(
        "-p",
        dest="given",
        action="append",
        default=[],
        nargs="+",
        metavar="NAME=VALUE",
        help="set a parameter",
    )
    new.add_argument("--out", type=Path, help="where to put the run (default: runs/<time>)")
    new = add("notebooks", "run the committed notebooks under laptop, save their cleaned outputs in place")
    new.add_argument("--only", default="", metavar="02", help="only these notebooks")
    new.add_argument("--clean-only", action="store_true", help="run nothing, only clean")
    add("screenshots", "write screenshots/ and the README's table from the committed notebooks")
    new = add("site", "build the site of a run again")
    new.add_argument("run", nargs="?", type=Path, help="the run's folder (default: runs/latest)")
    new = add("student", "copy the notebooks with solutions emptied and outputs removed")
    new.add_argument("--out", type=Path, help="where to (default: student/)")
    new = add("prior", "train the shipped weights again, from nothing, into data/weights")
    shipped = ", ".join([*recipes.SHIPPED, "prior"])
    new.add_argument("--only", default="", metavar="v2,prior", help=f"only these of {shipped}")
    new.add_argument("--seed", type=int, default=0, help="default: 0, the shipped ones")
    new.add_argument(
        "--mixture", nargs="+", default=[], metavar="SOURCE=WEIGHT", help="what the prior sees, and how often"
    )
    return top


def pairs(given: Sequence[Sequence[str]]) -> dict[str, str]:
    """`-p seed=3 steps=5` and, as papermill writes it, `-p seed 3`; ValueError for anything else."""
    result = {}
    for words in given:
        if len(words) == 2 and "=" not in words[0]:
            words = ["=".join(words)]
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or not name:
                raise ValueError(f"-p {word} says no value; write -p name=value, such as -p seed=3")
            result[name] = value
    return result


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = parser().parse_args(words)
    try:
        if args.command == "run":
            given = pairs(args.given or [])
            preset = given.pop("preset", args.preset)
            return course.run(preset, args.only, given, args.out, args.root)[1]
        if args.command == "notebooks":
            return release.save_notebooks(args.only, args.clean_only, args.root)
        if args.command == "screenshots":
            release.save_screenshots(args.root)
        elif args.command == "prior":
            recipes.train_all(args.only, args.seed, mixture=pairs([[w] for w in args.mixture]))
        elif args.command == "site":
            print(build_site(args.run or course.latest_run(args.root / "runs"), args.root / "notebooks"))
        else:
            print(
                "\n".join(str(path) for path in release.make_student(args.out or args.root / "student", args.root))
            )
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
