"""What a cell puts on the page: charts, pictures near to what was drawn, and tables."""

import base64
import io

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import torch
from PIL import Image

import eon_utils as eon
from eon_utils.course.outputs import alt_of, caption_of
from eon_utils.notebook import display


def photographs():
    """A sheet of two photographs, once as they are and once at an eighth of their size."""
    photos = eon.photos((160, 112))[:2]
    coarse = torch.nn.functional.avg_pool2d(photos, 8)
    return [eon.contact_sheet({"here": photos}), eon.contact_sheet({"coarse": coarse})]


def test_figures_with_pictures_are_in_true_colour_and_near_to_what_was_drawn(shown):
    kinds = []
    for fig in photographs():
        drawn = {density: display._drawn(fig, density) for density in display.DENSITIES}
        eon.show(fig, "two photographs", name="00_two")
        data, metadata = shown[-1]
        (kind,) = set(data) - {"text/plain"}
        kinds.append(kind)
        stored = base64.b64decode(data[kind])
        picture = Image.open(io.BytesIO(stored))
        (exact,) = (page for page in drawn.values() if page.size == picture.size)
        assert picture.mode == "RGB" and len(stored) <= display.FIGURE_BYTES
        difference = np.asarray(exact, float) - np.asarray(picture, float)
        assert 10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9)) >= 45
        assert metadata == {kind: {"alt": "two photographs"}, "screenshot": "00_two"}
        assert not plt.fignum_exists(fig.number)
    assert kinds == ["image/jpeg", "image/png"]


def test_what_does_not_fit_is_smaller_and_not_worse():
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)  # the worst case
    pages = {side: Image.fromarray(noise[:side, :side]) for side in (90, 80, 40, 30, 20)}
    tried = []

    def draw(side):
        tried.append(side)
        return pages[side]

    stored = display.still_picture(draw, list(pages), 4_000)
    assert len(stored) <= 4_000 and display.psnr_of(stored, pages[30]) >= display.PSNR
    assert tried == [90, 30], "what would be too large is not drawn"
    stored = display.still_picture(draw, list(pages), 10)
    assert display.psnr_of(stored, pages[20]) >= display.PSNR, "the last one is taken all the same"


def test_charts_are_svg_with_a_picture_for_who_shows_none(shown):
    fig, ax = plt.subplots()
    eon.curves({"V1": ([1, 2, 3], [3, 2, 1])}, "step", "loss", ax, marker="o")
    drawn = display._drawn(fig, display.CHART_DENSITY)
    eon.show(fig, "a line that falls", name="00_line")
    data, metadata = shown[0]
    assert data["image/svg+xml"].startswith("<svg") and "V1" in data["image/svg+xml"]
    assert display.psnr_of(base64.b64decode(data["image/png"]), drawn) >= display.PSNR
    assert data["text/plain"] == "Figure: a line that falls"
    assert metadata["image/svg+xml"] == metadata["image/png"] == {"alt": "a line that falls"}
    assert metadata["screenshot"] == "00_line"


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


def test_a_notebook_of_few_pictures_shows_larger_ones(shown, monkeypatch):
    for limit in list(display.LIMITS):
        monkeypatch.setitem(display.LIMITS, limit, display.LIMITS[limit])  # as it was, afterwards
    photos = eon.photos((160, 112))
    run = eon.History(loss=[1.0, 0.5], snapshot_steps=[0, 1], target=eon.to_uint8(photos))
    run.snapshots = [eon.to_uint8(photos), eon.to_uint8(photos.flip(0))]
    widths = []
    for kilobytes in (70, 240):
        eon.limit_pictures(kilobytes)
        eon.show(eon.contact_sheet({"a": photos}), "three photographs in a row")
        (data, _) = shown[-1]
        still = base64.b64decode(next(data[kind] for kind in data if kind.startswith("image")))
        poster = eon.scrub(run).poster
        assert max(len(still), len(poster)) <= 1000 * kilobytes
        widths.append([Image.open(io.BytesIO(file)).width for file in (still, poster)])
    assert all(small < large for small, large in zip(*widths, strict=True))


def test_a_caption_stands_in_place_of_the_alternative_text(shown):
    for caption, said in (("Look at the left.", "Look at the left."), ("", "a line that falls")):
        ax = eon.curves({"V1": ([1, 2], [2, 1])}, "step", "loss")
        eon.show(ax.figure, "a line that falls", caption=caption)
        data, metadata = shown[-1]
        output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
        assert (alt_of(output), caption_of(output)) == ("a line that falls", said)
