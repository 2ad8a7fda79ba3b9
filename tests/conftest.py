"""What all tests share: the repository, few threads, and a Jupyter home of their own."""

import os
import time
from pathlib import Path

import pytest
import torch

from eon_utils.threads import GLANCE, BusyCores


def pytest_configure(config):
    """Few threads, for these tests and for every kernel that a test starts.

    With more threads than free cores the same test can be eighty times slower. Of several processes
    of tests, the one that starts the others decides for all.
    """
    busy_cores = BusyCores()
    time.sleep(GLANCE)
    free = (os.cpu_count() or 1) - busy_cores()
    free /= getattr(config.option, "numprocesses", None) or 1
    os.environ.setdefault("OMP_NUM_THREADS", "2" if free > 1.5 else "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def own_jupyter_home(tmp_path_factory):
    """No test reads or writes the user's Jupyter settings, signatures or kernels."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
        yield


@pytest.fixture(scope="module")
def chromium():
    """A headless browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from browser import CHROMIUM, FLAGS

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
