"""environment.yml and pyproject.toml say the same, and each conda line says why."""

import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

try:
    import tomllib
except ImportError:
    import tomli as tomllib

PYPI_NAME = {"pytorch": "torch"}


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
            listed[PYPI_NAME.get(name, name)] = SpecifierSet(bounds.strip())
    wanted = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    wanted["python"] = SpecifierSet(project["requires-python"])
    assert listed == wanted


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


def test_the_code_is_clean(repo):
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=repo, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
