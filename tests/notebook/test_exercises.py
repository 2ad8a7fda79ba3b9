"""Exercises: their answers stand nowhere, mistakes get the hint that fits, progress is kept.

`.venv/bin/python tests/notebook/test_exercises.py` renews the hashes in `exercises.json` after an
answer in a notebook's solution cell, or a usual mistake below, has changed.
"""

import ast
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

import eon_utils as eon
from eon_utils.course import publish, runner
from eon_utils.notebook import exercises
from eon_utils.notebook.graders import GRADERS

REPO = Path(__file__).resolve().parents[2]
EVERY = json.loads(exercises.TABLE.read_text(encoding="utf-8"))
BY_HASH = [name for name in EVERY if name not in GRADERS]

# exercise -> usual mistake -> the answers that show it
MISTAKES = {
    "00-1": {"the other": ["colours"]},
    "01-1": {"mean forgotten": [5], "one too few": [3], "of three": [2], "the notebook's": [10]},
    "01-2": {
        "turned round": [1.5e-5],
        "one side": [1.2e-7],  # and the square root
        "channels": [8e-9, 7.2e-8],
        "unchanged": [6e-7],
    },
    "02-1": {
        "turned round": [1 / 12],
        "channels forgotten": [4],
        "places": [768, 256],
        "one side": [16],
        "V1's": [1.5],
        "channels": [64],
    },
    "03-1": {
        "orientations forgotten": [7],
        "not bits": [1024, 1000],
        "decimal logarithm": [3.01, 2.1],
        "natural logarithm": [6.93, 4.85],
        "bytes": [1.25],
    },
    "04-1": {
        "amplitude": [10],
        "turned round": [0.01],
        "decibels": [20],
        "bels": [2],
        "natural logarithm": [7.39],
    },
    "05-1": {
        "sign": [-6],
        "one step": [3, -3],
        "turned round": [1.5, -1.5],
        "from the last frame": [9],
    },
    "05-2": {"all": [5], "too few": [3], "motion": [2], "one": [1]},
    "06-1": {
        "share": [1 / 13],
        "the others'": [10],
        "moves": [13],
        "rounded": [8, 7, 7.6],
        "two classes": [50],
    },
}
NONSENSE = ["rubbish", [1, 2], [], float("nan"), float("inf"), torch.zeros(2), {}, object(), True]


def notebook(lesson):
    (path,) = (REPO / "notebooks").glob(f"{lesson}_*.ipynb")
    return nbformat.read(path, as_version=4)


def is_solution(cell):
    return "solution" in cell.metadata.get("tags", [])


def is_stub(cell):
    return cell.cell_type == "code" and "eon.check(" in cell.source and not is_solution(cell)


def right_answers():
    """Exercise -> its answer, as the solution cells of the notebooks assign it."""
    answers = {}
    for lesson in exercises._lessons():
        for cell in filter(is_solution, notebook(lesson).cells):
            values = {}
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    values[node.targets[0].id] = node.value
                elif isinstance(node, ast.Call) and ast.unparse(node.func) == "eon.check":
                    name = ast.literal_eval(node.args[0])
                    if name in BY_HASH:
                        value = ast.Expression(values[node.args[1].id])
                        code = compile(ast.fix_missing_locations(value), name, "eval")
                        answers[name] = eval(code, {"__builtins__": {}})
    return answers


def renewed():
    """The table with the hashes that it should hold."""
    table = json.loads(exercises.TABLE.read_text(encoding="utf-8"))
    for name, answer in right_answers().items():
        table[name]["answer"] = exercises.answer_hash(name, answer)
        for mistake, answers in MISTAKES[name].items():
            hashes = [exercises.answer_hash(name, one) for one in answers]
            table[name]["usual mistakes"][mistake]["hashes"] = hashes
    return table


if __name__ == "__main__":
    text = json.dumps(renewed(), indent=1, ensure_ascii=False)
    exercises.TABLE.write_text(f"{text}\n", encoding="utf-8")
