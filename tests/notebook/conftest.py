"""What the tests of this wing share."""

import pytest

from eon_utils.notebook import display


@pytest.fixture
def shown(monkeypatch):
    """What is displayed: (data, metadata) each."""
    outputs = []
    monkeypatch.setattr(
        display, "display", lambda data, metadata=None, raw=False: outputs.append((data, metadata))
    )
    return outputs
