"""The wheel: what is in it, and that it runs beside its core requirements alone."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LEFT_OUT = (".*", "*.egg-info", "__pycache__", "runs", "build", "student", "torchvision", "my_*")
SHIPPED = {
    "eon_utils/__init__.pyi",
    "eon_utils/py.typed",
    "eon_utils/course/static/site.css",
    "eon_utils/course/static/sweep.html",
    "eon_utils/models/weights/autoencoder_v2.safetensors",
    "eon_utils/models/weights/prior.md",
    "eon_utils/models/weights/prior.safetensors",
    "eon_utils/notebook/static/scrubber.js",
}
NOT_SHIPPED = {"data", "experiments", "notebooks", "screenshots", "tests"}
CORE = {"torch", "numpy", "filelock", "safetensors", "lightning-fabric", "tqdm", "lazy-loader"}
USE = """
import importlib.util, pathlib, torch
import eon_utils as eon

here = pathlib.Path.cwd()
package = pathlib.Path(eon.__file__)
assert "site-packages" in package.parts, package
for name in ("matplotlib", "IPython", "cv2", "PIL", "skimage", "sklearn", "torchvision"):
    assert importlib.util.find_spec(name) is None, name

prior = eon.load_prior()
frame = prior.predict(torch.rand(2, 4, 3, 64, 64))
assert frame.shape == (2, 3, 64, 64) and 0 <= frame.min() and frame.max() <= 1
images = torch.rand(2, 3, 64, 64)
autoencoder = eon.load_autoencoder("v2", channels=16)
assert autoencoder.encode(images).shape == (2, 16, 8, 8)
assert autoencoder(images).shape == images.shape

model = eon.ConvAutoencoder()
before = [p.clone() for p in model.parameters()]
run = eon.TrainingRun(model, steps=3, name="three", watched=images)
for step, batch in run.batches(images):
    run.step((run(batch) - batch).abs().mean())
assert run.status == "finished" and len(run.history.loss) == 3
assert not all(torch.equal(old, new) for old, new in zip(before, model.parameters()))
assert (here / "runs" / "checkpoints").is_dir(), "runs belong to the folder one stands in"
"""


def call(*words, cwd, env=None):
    process = subprocess.run([*map(str, words)], cwd=cwd, env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-4000:]
    return process.stdout


@pytest.fixture(scope="module")
def checkout(repo, tmp_path_factory):
    """A copy of the course: building leaves folders behind."""
    copy = tmp_path_factory.mktemp("checkout") / "course"
    shutil.copytree(repo, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out]
    call(sys.executable, "-m", "pip", "wheel", *options, checkout, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def closure(names):
    """Installed distributions that these requirements need, directly or not."""
    needed = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in needed:
            continue
        needed[key] = importlib.metadata.distribution(requirement.name)
        for text in needed[key].requires or []:
            child = Requirement(text)
            extras = ["", *requirement.extras]
            marker = child.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(child)
    return {name: distribution for (name, _), distribution in needed.items()}


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of an environment that holds the wheel and its core requirements, nothing else."""
    folder = tmp_path_factory.mktemp("core")
    venv.create(folder / "env", symlinks=os.name != "nt", with_pip=False)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install"]
    call(*install, "--no-deps", "--no-index", wheel, cwd=folder)
    libraries = folder / "libraries"
    libraries.mkdir()
    for distribution in closure(CORE).values():
        for top in {path.parts[0] for path in distribution.files or []} - {"..", "__pycache__"}:
            if not (libraries / top).exists():
                (libraries / top).symlink_to(Path(distribution.locate_file(top)).resolve())
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(call(python, "-c", ask, cwd=folder).strip())
    (site / "libraries.pth").write_text(str(libraries))
    return python


# --- what is in it ---


def test_the_wheel_holds_what_runs_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= SHIPPED
    tops = {name.split("/")[0] for name in names}
    assert "eon_utils" in tops and len(tops) == 3, tops  # the others: metadata, a setting
    assert all(name.endswith((".dist-info", ".data")) for name in tops - {"eon_utils"})
    (setting,) = [name for name in names if ".data/" in name]
    assert setting.endswith("share/jupyter/lab/settings/overrides.d/eye-of-newt.json")


def test_the_wheel_holds_every_module(wheel, repo):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (repo / "eon_utils").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(repo).as_posix() in names


def test_the_requirements_are_the_core_ones(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(path).decode()
    lines = re.findall(r"^Requires-Dist: (.*)", metadata, re.M)
    core = {canonicalize_name(Requirement(line).name) for line in lines if "extra ==" not in line}
    assert core == CORE
    assert re.findall(r"^Provides-Extra: (.*)", metadata, re.M) == [
        "data",
        "course",
        "shards",
        "sweep",
        "test",
    ]


def test_the_source_archive_holds_what_runs_and_nothing_else(checkout, tmp_path):
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    call(sys.executable, "-c", code, cwd=checkout)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert SHIPPED | {"LICENSE", "README.md", "pyproject.toml"} <= names
    assert not {name.partition("/")[0] for name in names} & NOT_SHIPPED


# --- that it runs ---


@pytest.mark.skipif(os.name == "nt", reason="makes symbolic links")
def test_it_runs_beside_its_core_requirements_alone(python, tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "EON_"))}
    call(python, "-c", USE, cwd=tmp_path, env=env)
