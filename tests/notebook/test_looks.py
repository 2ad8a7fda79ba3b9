"""Colours and dashes: the same for a name everywhere, told apart in each chart by every eye."""

from itertools import combinations

import numpy as np
import pytest
from browser import fake_history
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex, to_rgb
from skimage.color import rgb2lab

import eon_utils as eon
from eon_utils.notebook import looks
from eon_utils.notebook.looks import LOOKS, looks_of
from eon_utils.notebook.scrubber import scrub

# Names that stand in one chart, of the lessons and of their exercises.
TOGETHER = {
    "01": ("as is", "centred", "own rates", "both"),
    "02": ("V1", "V2", "V3", "V4", "photographs"),
    "03, models": ("V2", "V3", "V4", "shipped", "PCA", "JPEG"),
    "03, pictures": ("training", "fresh", "unseen"),
    "04": ("copy last", "linear", "optical flow", "first step learnt", "every step learnt"),
    "04, what is predicted": ("frame", "residual"),
    "05": ("copy last", "linear", "optical flow", "fit to the past", "untrained", "prior"),
    "05, in between": ("mean of both", "optical flow", "untrained", "prior"),
    "05, questions": ("next", "in between"),
    "06": (
        *("prior", "prior, part alone", "untrained", "untrained, part alone"),
        *("pixels (PCA)", "from scratch"),
    ),
    "06, learning on": (
        *("prior, 10 clips", "prior, 100 clips", "as built, 100 clips", "V4, 100 clips"),
        "copy last",
    ),
}
# What eyes without one of the three cones see, in linear RGB (Machado, Oliveira & Fernandes 2009).
EYES = {
    "all cones": np.eye(3),
    "no long": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
    "no medium": np.array(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
    "no short": np.array(
        [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]
    ),
}
APART = 10  # of CIELAB; a difference of 2 is seen side by side


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    monkeypatch.setattr(looks, "_chosen", {})
    yield
    plt.close("all")


def seen(colour, eye):
    linear = np.array(to_rgb(colour)) ** 2.2
    return rgb2lab((EYES[eye] @ linear).clip(0, 1) ** (1 / 2.2))


@pytest.mark.parametrize("chart", TOGETHER)
def test_names_of_one_chart_share_neither_colour_nor_dashes(chart):
    of_names = [LOOKS[name] for name in TOGETHER[chart]]
    for one, other in combinations(of_names, 2):
        assert one.colour != other.colour and one.dashes != other.dashes
        for eye in EYES:
            distance = np.linalg.norm(seen(one.colour, eye) - seen(other.colour, eye))
            assert distance > APART, (one, other, eye)


def test_what_is_no_model_has_colours_that_no_model_has():
    of_models = {LOOKS[name].colour for name in (*TOGETHER["02"], *TOGETHER["03, models"])}
    assert not of_models & {LOOKS[name].colour for name in TOGETHER["03, pictures"]}


def test_all_dashes_and_colours_differ():
    assert len(set(looks.DASHES)) == len(looks.DASHES) == 7
    assert len(set(looks.COLOURS)) == len(looks.COLOURS)
    assert len(set(looks.FREE)) == len(looks.FREE)


def test_other_names_get_what_is_free():
    prior, one, two = looks_of(["prior", "mine", "yours"])
    assert prior == LOOKS["prior"]
    assert len({look.colour for look in (prior, one, two)}) == 3
    assert len({look.dashes for look in (prior, one, two)}) == 3
    assert looks_of(["yours"]) == [two], "a name keeps its look"
    beside = next(name for name, look in LOOKS.items() if look.colour == one.colour)
    assert looks_of([beside, "mine"])[1].colour != one.colour, "unless a name of the table has it"


def test_more_names_than_colours():
    many = looks_of([f"run {i}" for i in range(25)])
    assert len(set(many)) == 25 and len({look.colour for look in many}) == len(looks.COLOURS)


def test_widgets_and_figures_draw_a_name_alike():
    history = fake_history()
    names = ("V3", "my own", "V1")
    of_widget = scrub(dict.fromkeys(names, history)).spec["looks"]
    ax = eon.curves(dict.fromkeys(names, ([1, 2], [1, 2])), "step", "loss")
    for line, look in zip(ax.lines, of_widget, strict=True):
        assert to_hex(line.get_color()).upper() == look["colour"]
        assert line.is_dashed() == bool(look["dashes"])
