"""Exercises: an answer is judged at once, and what is solved is remembered in a file.

An answer that is a number or a word is compared by its hash, so that nobody reads it by accident
in a notebook or in `static/exercises.json`, which also holds a hint for each usual mistake. An
answer that is code is judged by what it does (see `graders`), and most often drawn (see `trials`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import traceback
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from eon_utils.data.files import whole_file
from eon_utils.notebook import graders, trials
from eon_utils.notebook.display import table
from eon_utils.notebook.graders import RIGHT, UNTOUCHED, Verdict

TABLE = Path(__file__).with_name("static") / "exercises.json"
FILE = "progress.json"  # in the folder of the notebooks; the variable EON_PROGRESS names another
OFF = "off"  # the value of EON_PROGRESS with which no progress is read or kept
HASH_DIGITS = 16
NO_ANSWER = "Give one number, such as 3 or 0.25, or one word."


class Tried(NamedTuple):
    """How an answer that is code is judged, and drawn."""

    grade: Callable[..., Verdict]
    draw: Callable[..., None] | None


TRIED = {
    "01-3": Tried(graders.perfect_autoencoder, trials.perfect_autoencoder),
    "02-2": Tried(graders.xavier_start, trials.xavier_start),
    "02-3": Tried(graders.skips_cut_by_turns, trials.skips_cut_by_turns),
    "03-2": Tried(graders.random_bases, trials.random_bases),
    "03-3": Tried(graders.code_error, trials.code_error),
    "04-2": Tried(graders.fewest_frames, trials.fewest_frames),
    "04-3": Tried(graders.new_leaves, trials.new_leaves),
    "05-3": Tried(graders.slow_motion, trials.slow_motion),
    "06-2": Tried(graders.best_parts, trials.best_parts),
    "06-3": Tried(graders.change_alarm, None),
}


def check(
    exercise: str,
    answer: object,
    solution: bool = False,
    **given: object,
) -> None:
    """Answer an exercise at once: what to do, a hint, or "Right.". Never fails the notebook.

    Numbers count to two significant digits, words in capitals or small letters.

    Args:
        exercise: its lesson and number, such as "02-1".
        answer: a number or a word, or code that is tried, and often drawn; None: none yet.
        solution: the answer is that of the course, and nothing is remembered.
        given: what it takes to try the answer, for `graders` and `trials`.

    Raises:
        ValueError: for an exercise that is not in `static/exercises.json`.

    Examples:
        >>> check("01-1", None)
        Put your number in the place of None, and run the cell again.
    """
    texts = _exercises().get(exercise)
    if texts is None:
        raise ValueError(f"exercise={exercise!r} is unknown; add it to {TABLE.name}")
    verdict: Verdict = UNTOUCHED
    tried = TRIED.get(exercise)
    try:
        verdict = tried.grade(answer, **given) if tried else _compared(exercise, answer)
        if tried and tried.draw and verdict is not UNTOUCHED:
            tried.draw(answer, **given)
    except Exception as error:  # whatever the reader's code raises
        verdict = verdict or f"Your code raised {_in_words(error)}."  # a hint says more
    if verdict is UNTOUCHED:
        print(texts["to do"])
        return
    print("Right." if verdict == RIGHT else f"Not yet. {verdict}")
    if not solution:
        _report(exercise, verdict == RIGHT)


def progress() -> None:
    """Display which exercises are solved, in the notebooks of this folder."""
    solved = _solved()
    rows = []
    for lesson, exercises in _lessons().items():
        done = [name[-1] for name in exercises if name in solved]
        left = [name[-1] for name in exercises if name not in solved]
        rows.append((lesson, count_solved(lesson), ", ".join(done), ", ".join(left)))
    table(("lesson", "exercises", "solved", "to do"), rows)


def count_solved(lesson: str, solved: Collection[str] | None = None) -> str:
    """How many exercises of a lesson are solved: "2 of 3"; "" for a lesson without any.

    Args:
        lesson: its number, such as "02".
        solved: names of exercises; default: those that the reader solved.
    """
    exercises = _lessons().get(lesson, [])
    solved = _solved() if solved is None else solved
    done = sum(name in solved for name in exercises)
    return f"{done} of {len(exercises)}" if exercises else ""


def answer_hash(exercise: str, answer: object) -> str:
    """The hash of a number or a word, as `static/exercises.json` holds it.

    Args:
        exercise: such as "02-1"; the same answer has another hash in another exercise.
        answer: numbers count to two significant digits, words in capitals or small letters.

    Raises:
        ValueError: for what is no number and no word.

    Examples:
        >>> answer_hash("02-1", 0.3333) == answer_hash("02-1", "0.33")
        True
    """
    salted = f"eye of newt {exercise} {_normal(answer)}"
    return hashlib.sha256(salted.encode()).hexdigest()[:HASH_DIGITS]


def _normal(answer: object) -> str:
    """A number to two significant digits, or a word in small letters."""
    item = getattr(answer, "item", None)
    if item and getattr(answer, "size", 1) != 0:  # of NumPy's or PyTorch's numbers
        answer = item()
    if isinstance(answer, str):
        try:
            answer = float(answer)
        except ValueError:
            word = answer.strip().casefold()
            if word:
                return word
    if isinstance(answer, int | float) and not isinstance(answer, bool) and math.isfinite(answer):
        return f"{answer + 0.0:.1e}"  # -0.0 + 0.0 is 0.0
    raise ValueError(NO_ANSWER)


def _compared(exercise: str, answer: object) -> Verdict:
    """The verdict on a number or a word, by its hash."""
    if answer is None or (isinstance(answer, str) and not answer.strip()):
        return UNTOUCHED
    try:
        found = answer_hash(exercise, answer)
    except (ValueError, RuntimeError, TypeError):  # of several numbers there is no item
        return NO_ANSWER
    texts = _exercises()[exercise]
    if found == texts["answer"]:
        return RIGHT
    for mistake in texts["usual mistakes"].values():
        if found in mistake["hashes"]:
            return mistake["hint"]
    return texts["hint"]


def _in_words(error: Exception) -> str:
    """An error with the line of the notebook's cell that it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if "ipykernel" in frame.filename]
    where = f" in line {lines[-1]} of a cell" if lines else ""
    text = str(error).partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}{where}: {text}"


@cache
def _exercises() -> dict[str, dict[str, Any]]:
    """Exercise -> its texts and, where the answer is a number or a word, hashes."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def _lessons() -> dict[str, list[str]]:
    """Lesson -> its exercises, both in order."""
    lessons: dict[str, list[str]] = {}
    for name in sorted(_exercises()):
        lessons.setdefault(name.partition("-")[0], []).append(name)
    return lessons


# --- what is solved ---


def _file() -> Path | None:
    """Where it is remembered; None: nowhere."""
    named = os.environ.get("EON_PROGRESS")
    return None if named == OFF else Path(named or FILE).expanduser()


def _solved() -> set[str]:
    """The exercises that are solved. A file that is missing or damaged says none."""
    path = _file()
    if path is None:
        return set()
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))["solved"]
        return {name for name in noted if isinstance(name, str)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _report(exercise: str, right: bool) -> None:
    """Remember an exercise that is solved, and say how many of its lesson are."""
    path = _file()
    if path is None:
        return
    if right and exercise not in _solved():
        names = sorted(_solved() | {exercise})
        try:
            with whole_file(path) as partial:
                text = json.dumps({"solved": names}, indent=1)
                partial.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            print(f"Progress is not remembered, because {path} can't be written: {reason}.")
            return
    lesson = exercise.partition("-")[0]
    print(f"{lesson}: {count_solved(lesson)} solved")
