"""What a cell puts on the page: pictures within their budget, and tables."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import eon_utils as eon
from eon_utils.notebook import display


def test_figures_fit_their_budget_and_carry_their_words(shown):
    fig, ax = plt.subplots(figsize=(9, 6))
    ax.imshow(np.random.default_rng(0).random((600, 900, 3)))  # the worst case for a PNG
    eon.show(fig, "noise", name="00_noise")
    data, metadata = shown[0]
    png = base64.b64decode(data["image/png"])
    assert len(png) <= 150_000 and Image.open(io.BytesIO(png)).width > 200
    assert metadata == {"image/png": {"alt": "noise"}, "screenshot": "00_noise"}
    assert not plt.fignum_exists(fig.number)


def test_tables_escape_and_link(shown):
    display.table(("a", "b"), [("<x>", "1")], links=["01.ipynb"])
    assert '<a href="01.ipynb">&lt;x&gt;</a>' in shown[0][0]["text/html"]


def test_cells_of_a_table(shown):
    rows = [("a", 12345, 2.345, None), ("b", 1, np.float32(0.25), "text")]
    display.table(("name", "whole", "number", "last"), rows, {"x/y": 1}, digits=2)
    data = shown[0][0]
    assert data["x/y"] == 1
    assert data["text/plain"].splitlines() == [
        "name  whole   number  last",
        "a     12,345  2.35",
        "b     1       0.25    text",
    ]
    assert "<tr><td>a</td><td>12,345</td><td>2.35</td><td></td></tr>" in data["text/html"]


def test_source_is_shown_as_it_is(shown):
    display.show_source(display.show, display.table)
    source = shown[0][0].data
    assert source.startswith("def show(") and "\n\ndef table(" in source
