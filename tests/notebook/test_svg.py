"""Charts as SVG: small, the same each time, and whole in viewers that clean what they show."""

import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from eon_utils.notebook.figures import curves
from eon_utils.notebook.svg import SVG, svg_of


def draw():
    """Two lines with markers over logarithmic axes, a band, and text with a mark of XML."""
    fig, ax = plt.subplots(figsize=(6, 4))
    x = np.arange(1, 2001)
    ax.fill_between(x, 0.5 / x, 2 / x, alpha=0.2)
    ax.plot([10, 100], [0.1, 0.2], "s", alpha=0.5)
    lines = {"a < b": (x.tolist(), (1 / x).tolist()), "c": ([1, 90, 2000], [2, 1, 0.1])}
    curves(lines, "step", "loss", ax, "xy", "o")
    return fig


@pytest.fixture
def fig():
    yield draw()
    plt.close("all")


def test_the_same_figure_gives_the_same_text(fig):
    assert svg_of(fig, "falls") == svg_of(draw(), "falls")


def test_it_holds_nothing_that_viewers_take_out(fig):
    text = svg_of(fig, 'falls "fast"')
    page = ElementTree.fromstring(text)
    tags = {element.tag.removeprefix(SVG) for element in page.iter()}
    assert tags <= {"svg", "g", "path", "circle", "text", "tspan", "defs", "clipPath", "rect"}
    names = {name for element in page.iter() for name in element.attrib}
    assert "style" not in names and not [name for name in names if name.startswith("{")]
    clips = {element.get("id") for element in page.iter(f"{SVG}clipPath")}
    used = re.findall(r"url\(#(.*?)\)", text)
    assert used and set(used) == clips
    assert page.get("role") == "img" and page.get("aria-label") == 'falls "fast"'


def test_it_shows_what_was_drawn(fig):
    page = ElementTree.fromstring(svg_of(fig, "falls"))
    assert (page.get("width"), page.get("height")) == ("576", "384")
    assert page.get("viewBox") == "0 0 432.00 288.00"
    said = "".join(page.itertext())
    assert "a < b" in said and "step" in said and "loss" in said
    assert len(list(page.iter(f"{SVG}circle"))) >= 10
    ground = next(page.iter(f"{SVG}path"))
    assert ground.get("fill") == "#ffffff", "dark pages do not show through"


def test_thousands_of_points_are_thinned(fig):
    fig.axes[0].clear()
    x = np.linspace(0, 1, 20_000)
    fig.axes[0].plot(x, np.sin(9 * x))
    assert len(svg_of(fig, "a wave")) < 20_000


def test_figures_can_still_be_saved(fig, tmp_path):
    density = fig.dpi
    svg_of(fig, "falls")
    for suffix in ("png", "pdf", "svg"):
        fig.savefig(tmp_path / f"mine.{suffix}")
    assert fig.dpi == density and plt.rcParams["svg.fonttype"] == "path"
