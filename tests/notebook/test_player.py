"""The player without a browser: which pictures are sent, what stands for them, what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from browser import decoded, film_tile, moving_shapes, still_of, tensor
from PIL import Image

from eon_utils.notebook import player
from eon_utils.notebook.player import Player, play, show_clip
from eon_utils.notebook.sprites import ATLAS_BYTES, ATLAS_PIXELS


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: (thing, metadata) each."""
    things = []
    monkeypatch.setattr(
        player, "display", lambda thing, metadata=None, raw=False: things.append((thing, metadata))
    )
    return things


@pytest.fixture(scope="module")
def films():
    return moving_shapes(3, 14)


def test_tiles_show_the_right_pictures(shown, films):
    other = films[:, ::-1].copy()
    assert show_clip({"true": tensor(films), "V4": tensor(other)}, given=4, fps=12) is None
    widget = shown[0][0]
    spec, sheet = widget.spec, decoded(widget)
    assert (
        spec["names"] == ["true", "V4"]
        and spec["pictures"] == 3
        and spec["fps"] == 12
        and spec["pixelated"]
    )
    assert (spec["frames"][3:5], widget.frame) == (
        ["frame 4 of 4, given", "frame +1, predicted"],
        4,
    )
    for row, clips in enumerate((films, other)):
        for frame in (0, 5, 13):
            assert np.abs(film_tile(sheet, spec, row * 14 + frame) - clips[:, frame]).mean() < 5


def test_play_gives_what_show_clip_displays(shown, films):
    widget = play(tensor(films), titles="abc", fps=5, name="06_films")
    show_clip(tensor(films), titles="abc", fps=5, name="06_films")
    assert isinstance(widget, Player) and widget.get_state()["name"] == "06_films"
    other = shown[0][0]
    assert (widget.spec, widget.atlas, widget.poster) == (other.spec, other.atlas, other.poster)


def test_one_clip_without_a_number_and_at_most_eight_of_many(shown, films):
    show_clip(tensor(films[0]))
    show_clip(tensor(films[:1].repeat(11, 0)), titles=range(11))
    one, many = (widget.spec for widget, _ in shown)
    assert one["pictures"] == 1 and one["frames"][0] == "frame 1 of 14" and one["given"] == 0
    assert many["pictures"] == len(many["titles"]) == 8 and many["width"] * 8 < 900


def test_one_clip_a_model_stands_side_by_side(shown, films):
    show_clip({"true": tensor(films[:1]), "V4": tensor(films[1])})
    spec = shown[0][0].spec
    assert (spec["names"], spec["titles"], spec["pictures"]) == ([""], ["true", "V4"], 2)
    assert np.abs(film_tile(decoded(shown[0][0]), spec, 13) - films[:2, 13]).mean() < 5


def test_budget_holds_for_noise(shown):
    noise = torch.rand(8, 20, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    show_clip({"true": noise, "V4": 1 - noise, "V5": noise**2}, given=5)
    widget = shown[0][0]  # its poster is as small as posters get, and near to what was drawn
    assert len(widget.atlas) <= ATLAS_BYTES and len(widget.poster) <= 300_000
    size = Image.open(io.BytesIO(widget.atlas)).size
    assert max(size) <= 16383 and np.prod(size) <= 1.1 * ATLAS_PIXELS


def test_mimebundle(shown, films):
    show_clip({"true": tensor(films), "V4": tensor(films)}, given=4, name="04_clips")
    data, metadata = shown[0][0]._repr_mimebundle_()
    assert isinstance(shown[0][0], Player) and "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == "Player: true, V4: 14 frames, the first 4 given"
    assert metadata["screenshot"] == "04_clips"
    poster, alt = still_of((data, metadata))
    assert alt == "true, V4: 14 frames, the first 4 given"
    assert poster.mode == "RGB" and 600 <= poster.width <= 920


def test_the_strip_alone(shown, films):
    show_clip(tensor(films), alt="Discs that bounce", player=False)
    show_clip(tensor(films), alt="Discs that bounce", name="04_strip", player=False)
    (data, plain), (same, named) = shown
    assert data == same
    assert data["text/plain"] == "Figure: Discs that bounce"
    assert still_of((data, plain))[1] == "Discs that bounce"
    assert named == plain | {"screenshot": "04_strip"}


def test_the_strip_shows_eight_frames_of_each_clip(shown, films):
    """Columns are frames 1 to 14, evenly, rows the clips; what was given is under a gray bar."""
    show_clip(tensor(films), given=4, player=False)
    page = still_of(shown[0])[0].convert("RGB")
    bar = np.asarray(page)[47].astype(int)
    near = [
        np.abs(bar - np.array(colour)).max(1) < 30 for colour in ((0x88,) * 3, (0x7A, 0x4F, 0xD0))
    ]
    given, predicted = (np.flatnonzero(mask) for mask in near)
    assert given.max() < predicted.min()
    column = (predicted.max() - given.min() + 5) / 8
    assert len(given) == pytest.approx(
        2 * column, abs=8
    )  # frames 1 and 3 of the first 4; then +1, ...
    side = round(column) - 4
    for clip in range(3):
        for place, frame in ((0, 0), (2, 4), (7, 13)):
            left, top = round(given.min() + place * column), 50 + clip * (side + 4)
            part = np.asarray(
                page.crop((left, top, left + side, top + side)).resize((64, 64))
            ).astype(int)
            errors = [np.abs(part - other).mean() for other in films[clip]]
            assert np.argmin(errors) == frame and min(errors) < 8


def test_what_is_refused(shown, films):
    clips = tensor(films)
    with pytest.raises(
        ValueError, match=r"clips\['V4'\] has shape \(3, 9, 3, 64, 64\), clips\['true'\] \(3, 14,"
    ):
        show_clip({"true": clips, "V4": clips[:, :9]})
    with pytest.raises(ValueError, match=r"clips has shape \(3, 64, 64\)"):
        show_clip(clips[0, 0])
    with pytest.raises(
        ValueError, match=r"clips\['V4'\] has shape \(3, 14, 64, 64, 3\).*give \(N, T, 3, H, W\)"
    ):
        show_clip({"V4": clips.movedim(2, 4)})
    with pytest.raises(ValueError, match="uint8; give"):
        show_clip((clips * 255).byte())
    with pytest.raises(ValueError, match="no clips given"):
        show_clip({})
    with pytest.raises(ValueError, match="2 titles for 3 clips"):
        show_clip(clips, titles=["a", "b"])
    for given in (-1, 14):
        with pytest.raises(ValueError, match=f"given={given} must be from 0 to 13"):
            show_clip(clips, given=given)
    with pytest.raises(ValueError, match="fps=0 must be above 0"):
        show_clip(clips, fps=0)
    assert not shown
