"""The parameters of notebooks, checked before anything runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eon_utils.config import PRESETS
from eon_utils.course.outputs import read_notebook
from eon_utils.notebook.parameters import literal, resolve

KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "list": (list,),
    "None": (type(None),),
}
KINDS_OF_NONE = [
    "int",
    "float",
    "list",
    "None",
]  # where the default is a plain None
# What is raised where a call of a notebook is not written out plainly.
NOT_PLAIN = (SyntaxError, ValueError, LookupError, StopIteration)
OWN_FILES = ("images", "videos", "weights")  # parameters that name files of the user's


class Parameter(NamedTuple):
    """The default of a parameter, and the names of the types that it may have, keys of KINDS."""

    default: Any
    kinds: list[str]


def parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of a notebook by name, from the assignments in its cell tagged `parameters`.

    The kinds come from the annotation (`steps: int | None = None`), else from the default.
    """
    known = {}
    for statement in _statements(notebook):
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]
            annotation = None
        elif isinstance(statement, ast.AnnAssign):
            target = statement.target
            annotation = statement.annotation
        else:
            continue
        if statement.value is not None:
            try:
                default = ast.literal_eval(statement.value)
            except ValueError as error:
                line = ast.unparse(statement)
                remedy = "in the cell tagged parameters each value is written out"
                raise ValueError(f"{notebook.name}: {line}; {remedy}") from error
            known[ast.unparse(target)] = Parameter(default, _kinds(default, annotation))
    return known


def _statements(notebook: Path) -> list[ast.stmt]:
    """Those of the cell tagged `parameters`."""
    for cell in read_notebook(notebook).cells:
        if "parameters" in cell.metadata.get("tags", []):
            try:
                return ast.parse(cell.source).body
            except SyntaxError as error:
                where = f"{notebook.name}: its cell tagged parameters, line {error.lineno}"
                raise ValueError(f"{where}: {error.msg}") from error
    return []


def _kinds(default: object, annotation: ast.expr | None) -> list[str]:
    if annotation is not None:
        text = ast.unparse(annotation)
        kinds = [kind for kind in KINDS if re.search(rf"\b{kind}\b", text)]
        if kinds:
            return kinds
    if default is None:
        return KINDS_OF_NONE
    kind = type(default).__name__
    return ["list" if kind == "tuple" else kind]


def rules(notebook: Path) -> dict[str, Any]:
    """What a notebook hands to `eon.resolve`: its table, written as `dict(...)`, and `own_clips`.

    An empty table where it is written otherwise: the notebook itself then refuses what it can't
    take.
    """
    try:
        return _rules_in(_source_with(notebook, "eon.resolve("))
    except NOT_PLAIN:
        return {"table": {}}


def _rules_in(source: str) -> dict[str, Any]:
    """Those of a cell that calls `eon.resolve`."""
    named = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign):
            named[ast.unparse(node.targets[0])] = node.value
    asked = _call(source, "eon.resolve")
    table = named.get(ast.unparse(asked.args[2]), asked.args[2])
    entries = table.keywords if isinstance(table, ast.Call) else []
    found: dict[str, Any] = {"table": _values(entries)}
    own_clips = [entry for entry in asked.keywords if entry.arg == "own_clips"]
    return found | _values(own_clips)


def minutes(notebook: Path) -> dict[str, str]:
    """Preset -> the time that a notebook says it takes, such as "3 minutes".

    It is what the notebook hands to `eon.setup`; nothing where that is not written out.
    """
    try:
        return ast.literal_eval(_call(_source_with(notebook, "eon.setup("), "eon.setup").args[1])
    except NOT_PLAIN:
        return {}


def _source_with(notebook: Path, words: str) -> str:
    """The first code cell that has these words."""
    cells = [cell for cell in read_notebook(notebook).cells if cell.cell_type == "code"]
    return next((cell.source for cell in cells if words in cell.source), "")


def _call(source: str, function: str) -> ast.Call:
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return next(call for call in calls if ast.unparse(call.func) == function)


def _values(entries: Sequence[ast.keyword]) -> dict[str, Any]:
    return {str(entry.arg): ast.literal_eval(entry.value) for entry in entries}


def parse_value(name: str, text: str, kinds: Sequence[str]) -> Any:  # noqa: ANN401
    """A parameter as it was typed on the command line, as one of `kinds`.

    Raises:
        ValueError: for a value of another kind.

    Examples:
        >>> parse_value("size", "[64, 48]", ["int", "list", "None"])
        [64, 48]
    """
    value = literal(text)
    if any(_is_kind(value, kind) for kind in kinds):
        return value
    if "str" in kinds:
        return text
    raise ValueError(f"{name}={text} has the wrong type: it must be {' or '.join(kinds)}")


def _is_kind(value: object, kind: str) -> bool:
    if isinstance(value, bool):  # which Python counts among the whole numbers
        return kind == "bool"
    return isinstance(value, KINDS[kind])


def plan(
    notebooks: Sequence[Path], preset: str, settings: Mapping[str, str]
) -> list[tuple[Path, dict[str, Any]]]:
    """Each notebook with the parameters that it has and that differ from its own defaults.

    Args:
        notebooks: their paths.
        preset: "smoke", "laptop" or "full".
        settings: parameter -> value, as typed on the command line.

    Raises:
        ValueError: for a notebook that can't be read, an unknown preset, a parameter that none of
            them has, or a value that `resolve` refuses, as it will in the notebook.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset} is unknown; choose one of {', '.join(PRESETS)}")
    known = {path: parameters(path) for path in notebooks}
    refuse_unknown(settings, *known.values())
    settings = {**settings, "preset": preset}
    planned = []
    for path, of_notebook in known.items():
        values = {}
        for name, text in settings.items():
            if name in of_notebook:
                values[name] = typed(name, text, of_notebook[name].kinds)
        planned.append((path, settle(of_notebook, rules(path), values, preset)))
    return planned


def refuse_unknown(names: Iterable[str], *known: Mapping[str, Parameter]) -> None:
    """Raise a `ValueError` that lists the parameters of some notebooks, if none has one of these.

    Args:
        names: of parameters.
        *known: the parameters of each notebook.
    """
    allowed = ["preset"]
    for of_notebook in known:
        allowed += [name for name in of_notebook if name not in allowed]
    for name in names:
        if name not in allowed:
            message = f"unknown parameter {name}; these notebooks have: {', '.join(allowed)}"
            raise ValueError(message)


def typed(name: str, text: str, kinds: Sequence[str]) -> Any:  # noqa: ANN401
    """As `parse_value`; the path of a file of the user's is made absolute.

    Raises:
        ValueError: for a value of another kind, and for a path that does not exist.
    """
    value = parse_value(name, text, kinds)
    if name in OWN_FILES and value:
        path = Path(value).expanduser()
        if not path.exists():
            remedy = "give the path of a folder or file of yours"
            raise ValueError(f"{name}={text} does not exist (looked in {Path.cwd()}); {remedy}")
        value = str(path.resolve())  # because the kernel works in the notebooks' folder
    return value


def settle(
    known: Mapping[str, Parameter], rules: dict[str, Any], values: Mapping[str, Any], preset: str
) -> dict[str, Any]:
    """Those values that differ from a notebook's own defaults; all are checked.

    Args:
        known: its parameters.
        rules: the notebook's.
        values: by the name of a parameter that it has, of the right type.
        preset: in force where `values` has none.

    Raises:
        ValueError: for a value that `resolve` refuses, as it will in the notebook.
    """
    changed = {name: value for name, value in values.items() if value != known[name].default}
    try:
        resolve(**{"preset": preset, "seed": 0} | rules | changed)
    except TypeError as error:
        raise ValueError(str(error)) from error
    return changed
