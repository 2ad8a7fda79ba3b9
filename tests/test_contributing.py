"""CONTRIBUTING's steps, followed in a copy: a fifth source of clips, a model, a notebook."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

RAIN = '''"""Rain: short bright streaks that fall, all as fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from eon_utils.data.clips import ClipSource


@dataclass(frozen=True)
class Rain(ClipSource):
    """Clips of rain."""

    name: ClassVar[str] = "rain"
    weight: ClassVar[float] = 1.0
    card: ClassVar[str] = "rain.md"
    reversible: ClassVar[bool] = False

    drops: int = 40

    def clip(self, index: int) -> Tensor:
        rng = np.random.default_rng((self.seed, index, int(self.train)))
        clip = torch.full((self.frames, 3, self.size, self.size), 0.2)
        tops, columns = rng.integers(0, self.size, (2, self.drops))
        for frame in range(self.frames):
            for length in range(4):
                rows = torch.from_numpy((tops + 3 * frame + length) % self.size)
                clip[frame, :, rows, torch.from_numpy(columns)] = 0.8
        return clip
'''
RAIN_TEST = """from eon_utils import Rain


def test_rain_falls():
    clip = Rain(1, frames=2, size=32)[0]
    assert (clip[1, :, 3:] == clip[0, :, :-3]).all()
"""
MEAN = '''"""The mean of the last two frames."""

import torch
from torch import Tensor, nn


class MeanFrame(nn.Module):
    """Predicts the mean of the last two frames, scaled by one learnt number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) in [0, 1] -> (N, 3, H, W)."""
        return self.scale * clips[:, -2:].mean(1)  # (N, 3, H, W)
'''
MEAN_TEST = """import torch

from eon_utils import FRAME_BASELINES, MeanFrame, next_frame_psnr


def test_it_predicts_what_does_not_move():
    clips = torch.rand(2, 1, 3, 16, 16).expand(-1, 4, -1, -1, -1)
    assert next_frame_psnr(MeanFrame(), clips) == 60
    assert torch.equal(FRAME_BASELINES["mean of two"](clips), clips[:, 0])
"""


def steps(repo, title):
    """The numbered steps of a section of CONTRIBUTING.md."""
    text = (repo / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. (.*)$", section, re.M)


@pytest.fixture
def house(repo, tmp_path):
    """A copy of the course without what was run or installed."""
    copy = tmp_path / "house"
    copy.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "torchvision", "videos")
    for folder in ("eon_utils", "notebooks", "data", "tests", "experiments"):
        shutil.copytree(repo / folder, copy / folder, ignore=unwanted)
    for file in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "environment.yml"):
        shutil.copy(repo / file, copy)
    return copy


def put(house, path, text, before=None):
    """Write a file; or put lines into one, before the first line that contains `before`."""
    file = house / path
    if before is None:
        file.write_text(text, encoding="utf-8")
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if before in line)
    lines.insert(place, text)
    file.write_text("".join(lines), encoding="utf-8")


def run(house, *words, timeout=500):
    """Run Python in the copy, on the copy; returns what it printed."""
    env = os.environ | {"PYTHONPATH": str(house)}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=house,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("title", ["A source of clips", "A model", "A notebook"])
def test_at_most_five_steps_which_name_files_that_are_there(repo, title):
    listed = steps(repo, title)
    assert 1 <= len(listed) <= 5
    for step in listed:
        for path in re.findall(r"`((?:eon_utils|data|tests|notebooks)/[\w/.]+\.\w+)`", step):
            new = "NAME" in path or "your_question" in path
            assert new or (repo / path).exists(), path


@pytest.mark.notebook
@pytest.mark.timeout(900)
def test_a_fifth_source(repo, house):
    named = " ".join(steps(repo, "A source of clips"))
    for file in ("eon_utils/data/NAME.py", "eon_utils/data/sources.py", "data/NAME.md"):
        assert f"`{file}`" in named
    assert "`eon_utils/__init__.pyi`" in named and "`tests/data/test_NAME.py`" in named
    put(house, "eon_utils/data/rain.py", RAIN)
    sources = "eon_utils/data/sources.py"
    put(house, sources, "from eon_utils.data.rain import Rain\n", "import MovingDigits")
    put(house, sources, '    "rain": Rain,\n', "}")
    put(house, "data/rain.md", "# Rain\n\nStreaks that fall.\n")
    put(house, "eon_utils/__init__.pyi", "from .data.rain import Rain as Rain\n", "moving_digits")
    put(house, "tests/data/test_rain.py", RAIN_TEST)

    run(house, "-m", "pytest", "-q", "tests/data/test_rain.py", "tests/data/test_clips.py")
    run(house, "-m", "pytest", "-q", "tests/test_wings.py", "-k", "import or circle or upward")
    code = "from eon_utils.training.train_prior import *\n"
    code += (
        "assert default_mixture()['rain'] == 1 and parse_mixture({'rain': 2}) == {'rain': 2.0}\n"
    )
    code += "clips = training_sources(scale=0.001, size=32)\n"
    code += "assert clips[-1].name == 'rain' and clips[-1][0].shape == (10, 3, 32, 32)"
    run(house, "-c", code)
    run(house, "-m", "eon_utils", "run", "--preset", "smoke", "--only", "04,05,06", "--out", "out")
    for name in ("04_next_frame_sanity", "05_generalized_next_frame", "06_transferring_the_prior"):
        nb = nbformat.read(house / "out" / f"{name}.ipynb", as_version=4)
        printed = str([cell.get("outputs", []) for cell in nb.cells])
        assert "rain" in printed, f"{name} shows the fifth source"


def test_a_model(repo, house):
    named = " ".join(steps(repo, "A model"))
    for file in ("eon_utils/models/NAME.py", "eon_utils/__init__.pyi", "tests/models/test_NAME.py"):
        assert f"`{file}`" in named
    put(house, "eon_utils/models/mean_frame.py", MEAN)
    line = "from .models.mean_frame import MeanFrame as MeanFrame\n"
    put(house, "eon_utils/__init__.pyi", line, "models.conv_autoencoder")
    put(house, "tests/models/test_mean_frame.py", MEAN_TEST)
    text = (house / "eon_utils/evaluation/baselines.py").read_text(encoding="utf-8")
    import_line = "from eon_utils.models.mean_frame import MeanFrame\n"
    text = re.sub(r"^(from eon_utils|import numpy)", import_line + r"\1", text, count=1, flags=re.M)
    text += 'FRAME_BASELINES["mean of two"] = MeanFrame()\n'
    put(house, "eon_utils/evaluation/baselines.py", text)
    run(house, "-m", "pytest", "-q", "tests/models/test_mean_frame.py")
    run(house, "-m", "pytest", "-q", "tests/test_wings.py", "-k", "import or circle or upward")


@pytest.mark.notebook
def test_a_notebook(repo, house):
    named = " ".join(steps(repo, "A notebook"))
    assert "`notebooks/07_your_question.ipynb`" in named and "`tests/test_notebooks.py`" in named
    nb = nbformat.read(house / "notebooks" / "00_start_here.ipynb", as_version=4)
    nb.cells[0].source = re.sub(r"^# .*", "# Your question", nb.cells[0].source)
    nbformat.write(nb, house / "notebooks" / "07_your_question.ipynb")
    put(
        house,
        "tests/test_notebooks.py",
        '    "07_your_question",\n',
        '"06_transferring_the_prior",',
    )
    run(house, "-m", "eon_utils", "notebooks", "--only", "07")
    form = "executed or outputs_belong or committed_form or small_and_described or names_no"
    printed = run(house, "-m", "pytest", "-q", "tests/test_notebooks.py", "-k", f"07 and ({form})")
    assert "passed" in printed
