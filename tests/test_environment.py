"""What is installed: conda and pip say the same, and the code is as clean as its tools can see."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

try:
    import tomllib
except ImportError:
    import tomli as tomllib

PYPI_NAME = {"pytorch": "torch"}
FOR_READERS = ("course", "data", "sweep")  # what conda installs; `test` is pip's alone


@pytest.fixture(scope="module")
def conda(repo):
    return yaml.safe_load((repo / "environment.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(repo):
    return tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def plain_lines(conda):
    return [line for line in conda["dependencies"] if isinstance(line, str)]


def pip_lines(conda):
    return next(part["pip"] for part in conda["dependencies"] if isinstance(part, dict))


def test_same_packages_same_ranges(conda, project):
    assert "-e ." in pip_lines(conda), "the pip section must install the course itself"
    listed = {}
    for line in [*plain_lines(conda), *pip_lines(conda)]:
        name, _, bounds = line.partition(" ")
        if name not in ("pip", "-e"):
            listed[canonicalize_name(PYPI_NAME.get(name, name))] = SpecifierSet(bounds.strip())
    lines = list(project["dependencies"])
    for extra in FOR_READERS:
        lines += project["optional-dependencies"][extra]
    wanted = {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}
    wanted["python"] = SpecifierSet(project["requires-python"])
    assert listed == wanted


def test_a_package_has_one_range(project):
    ranges = {}
    lines = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        lines += extra
    for requirement in map(Requirement, lines):
        bounds = ranges.setdefault(canonicalize_name(requirement.name), requirement.specifier)
        assert bounds == requirement.specifier, requirement.name


def test_only_conda_forge(conda):
    assert conda["channels"] == ["conda-forge"]


def test_every_package_says_why(repo):
    lines = (repo / "environment.yml").read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if re.match(r"\s+- (?!conda-forge$|pip:)", line)]
    silent = [line.strip() for line in packages if not re.search(r"  # \w.{9,}", line)]
    assert len(packages) > 15 and not silent


def test_conda_reads_every_line(conda):
    rattler = pytest.importorskip("rattler", reason="py-rattler parses conda's own syntax")
    for line in plain_lines(conda):
        rattler.MatchSpec(line, strict=True)


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_the_code_is_clean(repo, command):
    words = [sys.executable, "-m", "ruff", *command.split(), "."]
    process = subprocess.run(words, cwd=repo, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.timeout(300)
def test_the_types_are_true(repo):
    words = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    # without this variable it asks the net for newer versions
    offline = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    process = subprocess.run(words, cwd=repo, env=offline, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-8000:] + process.stderr[-2000:]
