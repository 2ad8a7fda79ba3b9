"""eon_utils stays small and has floors: a module imports only from floors below its own."""

import ast

import pytest

FLOORS = [
    {"presets"},
    {"weights"},
    {"models", "metrics", "images", "scenes", "autoencoders", "baselines", "digits", "games", "footage", "flow"},
    {"motion", "prior"},
    {"videos"},
    {"training"},
    {"prior_training", "transfer"},
    {"recipes"},
    {"display", "atlas"},
    {"widgets", "plotting", "claims"},
    {"player"},
    {"site"},
    {"course"},
    {"release"},
    {"__main__", "__init__"},
]
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}


def sources(repo):
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((repo / "eon_utils").glob("*.py"))}


def imported(source):
    """Modules of eon_utils that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "eon_utils" if node.level and not node.module else node.module
            module = f"eon_utils.{module}" if node.level and node.module else module
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("eon_utils."))


def test_imports_go_down(repo):
    for module, source in sources(repo).items():
        assert module in FLOOR, f"eon_utils/{module}.py stands on no floor; add it to {__file__}"
        for other in imported(source):
            assert FLOOR[other] < FLOOR[module], f"eon_utils/{module}.py imports {other}, which is not below it"


@pytest.mark.parametrize("kind", ["py", "js", "css", "html"])
def test_no_file_is_long(repo, kind):
    for path in (repo / "eon_utils").glob(f"*.{kind}"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, f"{path.name} is too long to read"


COMMANDS = {"site", "course", "release", "__main__"}  # what runs and publishes the notebooks; they never import it
SOURCES = {"images", "scenes", "digits", "games", "motion", "footage", "videos"}  # of pictures, clips
SHIPPED = {"autoencoders", "prior", "weights", "prior_training", "recipes"}  # models that ship, how they are made
RIVALS = {"baselines", "transfer"}  # what models are put beside, and the experiments they are put to


@pytest.mark.parametrize(
    ("what", "limit"), [("lessons", 1850), ("shipped", 900), ("sources", 1100), ("commands", 800), ("rivals", 260)]
)
def test_the_module_is_small(repo, what, limit):
    of = {"commands": COMMANDS, "sources": SOURCES, "shipped": SHIPPED, "rivals": RIVALS}
    of = of.get(what, set(FLOOR) - COMMANDS - SOURCES - SHIPPED - RIVALS)
    found = [source for name, source in sources(repo).items() if name in of]
    total = sum(sum(bool(line.strip()) for line in source.splitlines()) for source in found)
    assert total <= limit, f"eon_utils has {total} lines for {what} (blank ones not counted)"
