"""The wings of eon_utils stand in an order, and importing the package costs next to nothing."""

import ast
import graphlib
import re
import statistics
import subprocess
import sys

import nbformat
import pytest

PACKAGE = "eon_utils"
NOT_FOR_THE_PRIOR = {
    *("IPython", "ipykernel", "ipywidgets", "anywidget", "matplotlib", "papermill", "nbformat"),
    *(
        "nbconvert",
        "sphinx",
        "myst_nb",
        "jupyter_core",
        "jupyter_client",
        "jupyterlab",
        "lightning_fabric",
    ),
    *("cv2", "sklearn", "skimage", "torchvision", "PIL", "av", "ale_py", "onnx"),
}


# --- who imports whom ---


def module_name(path, package):
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.fixture(scope="module")
def trees(repo):
    """Name -> syntax tree of every module, the package's own two files at its top left out."""
    package = repo / PACKAGE
    tops = {package / "__init__.py", package / "__main__.py"}
    return {
        module_name(path, package): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
        if path not in tops
    }


def imported(name, tree, modules):
    """Modules of the package that a module imports, anywhere in it; the package is one too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".")[: -node.level]
                base = ".".join([*parents, base]).rstrip(".")
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.split(".")[0] == PACKAGE:
                while target not in modules and target != PACKAGE:
                    target = target.rpartition(".")[0]
                yield target


def wing(module):
    """`eon_utils.models.prior` -> models; the package itself stays what it is."""
    return module.split(".")[1] if "." in module else module


@pytest.fixture(scope="module")
def imports(trees):
    return {name: set(imported(name, tree, trees)) - {name} for name, tree in trees.items()}


@pytest.fixture(scope="module")
def order(repo):
    """The wings as the README's table has them, from the ground up."""
    readme = (repo / "README.md").read_text(encoding="utf-8")
    table = readme.split("| wing |")[1].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)", table, re.M)


def test_every_wing_is_in_the_readme_and_no_other(trees, order):
    assert sorted(order) == sorted({wing(name) for name in trees}), (
        "mend the README's table of wings"
    )


def test_wings_import_only_from_wings_above_them_in_the_table(imports, order):
    for module, others in imports.items():
        for other in others:
            assert wing(other) in order, f"{module} imports the package itself"
            below = order.index(wing(other)) > order.index(wing(module))
            assert not below, (
                f"{module} imports {other}, which stands below it in the README's table"
            )


def test_no_circle_of_wings(imports):
    graph = {}
    for module, others in imports.items():
        graph.setdefault(wing(module), set()).update({wing(other) for other in others})
    for name, others in graph.items():
        others.discard(name)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_no_circle_of_modules(imports):
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError


def test_notebooks_import_the_package_and_nothing_deeper(repo):
    for path in sorted((repo / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            lines = re.findall(rf"^\s*(?:from|import)\s+{PACKAGE}\b.*", cell.source, re.M)
            deeper = [line for line in lines if line.strip() != f"import {PACKAGE} as eon"]
            assert not deeper, f"{path.name}: {deeper[0]}"


# --- what an import costs ---


def in_a_new_process(code, cwd):
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_import_loads_nothing_heavy_and_is_quick(repo):
    code = f"import sys, time; start = time.perf_counter(); import {PACKAGE} as eon\n"
    code += "print(time.perf_counter() - start); print(*sys.modules)"
    times = []
    for _ in range(3):
        seconds, modules = in_a_new_process(code, repo).splitlines()
        times.append(float(seconds))
        assert not {"torch", "numpy", "IPython", "matplotlib"} & set(modules.split())
    assert statistics.median(times) <= 0.3


def test_the_prior_loads_what_it_needs_and_no_more(repo):
    code = f"import sys, {PACKAGE} as eon; eon.load_prior(); print(*sys.modules)"
    modules = set(in_a_new_process(code, repo).split())
    assert {"torch", "safetensors"} <= modules
    assert not modules & NOT_FOR_THE_PRIOR


def test_every_public_name_loads(repo):
    code = f"import {PACKAGE} as eon\nfor name in eon.__all__: getattr(eon, name), print(name)"
    assert len(in_a_new_process(code, repo).splitlines()) > 60


def test_the_command_line_answers_without_torch(repo):
    code = f"import sys; from {PACKAGE}.__main__ import main\ntry: main(['--help'])\n"
    code += "except SystemExit: print(*sys.modules)"
    assert "torch" not in in_a_new_process(code, repo).split()
