"""Scrubber and live panel without a browser: what is sent, what is saved, what is refused."""

from __future__ import annotations

import base64
import io
import json
import time

import numpy as np
import pytest
from browser import decoded, fake_film, fake_history, film_tile, still_of
from PIL import Image

from eon_utils.notebook import live_panel as panel_module
from eon_utils.notebook.histories import loss_curve, smooth_curve, value_at
from eon_utils.notebook.live_panel import LivePanel, live_panel
from eon_utils.notebook.scrubber import encode, scrub
from eon_utils.notebook.sprites import ATLAS_BYTES, ATLAS_PIXELS, AtlasPacker, side_by_side
from eon_utils.training.history import History


@pytest.fixture(scope="module")
def history():
    return fake_history()


def noisy(steps: int, pictures: int, size: tuple[int, int], seed: int = 0) -> History:
    """The worst case for any codec: every snapshot is fresh noise."""
    random = np.random.default_rng(seed)
    frames = [random.integers(0, 256, (pictures, size[1], size[0], 3), np.uint8) for _ in range(60)]
    at = np.unique(np.geomspace(1, steps, 70).astype(int))[:60].tolist()
    loss = np.geomspace(1, 1e-3, steps).tolist()
    return History(loss=loss, snapshot_steps=at, snapshots=frames[: len(at)], target=frames[0])


def noisy_films(steps: int, clips: int, frames: int, side: int, seed: int = 0) -> History:
    """The same of films, with four frames given."""
    run = noisy(steps, clips * (frames + 4), (side, side), seed)
    films = [shot.reshape(clips, frames + 4, side, side, 3) for shot in run.snapshots]
    run.snapshots, run.target, run.context = (
        [f[:, 4:] for f in films],
        films[0][:, 4:],
        films[0][:, :4],
    )
    return run


def atlas_size(scrubber) -> tuple[int, int]:
    return Image.open(io.BytesIO(scrubber.atlas)).size


@pytest.mark.parametrize("models", [1, 4])
def test_budget_holds_for_noise(models):
    runs = {f"V{i}": noisy(1000, 3, (128, 88), i) for i in range(models)}
    scrubber = scrub(runs)
    assert len(scrubber.atlas) <= ATLAS_BYTES
    assert len(scrubber.poster) <= 300_000
    assert (
        max(atlas_size(scrubber)) <= 16383 and np.prod(atlas_size(scrubber)) <= 1.1 * ATLAS_PIXELS
    )
    assert len(scrubber.spec["steps"]) >= 16


def test_saved_state_is_below_one_megabyte():
    state = scrub({f"V{i}": noisy(1000, 3, (256, 176), i) for i in range(4)}).get_state()
    saved = [base64.b64encode(v) if isinstance(v, bytes) else json.dumps(v) for v in state.values()]
    assert sum(map(len, saved)) <= 1_000_000


def test_encode_says_when_nothing_fits(history):
    with pytest.raises(ValueError, match="hold no two steps"):
        encode([history], 200, budget=100)


def test_tiles_show_the_right_pictures(history):
    scrubber = scrub(history)
    spec = scrubber.spec
    sheet = np.asarray(Image.open(io.BytesIO(scrubber.atlas)).convert("RGB")).astype(int)
    width, height = spec["cell"]
    for i in (0, len(spec["steps"]) // 2, len(spec["steps"]) - 1):
        y, x = divmod(spec["tiles"][0][i], spec["columns"])
        tile = sheet[y * height : (y + 1) * height, x * 3 * width : (x + 1) * 3 * width]
        shot = history.snapshots[history.snapshot_steps.index(spec["steps"][i])]
        assert np.abs(tile - side_by_side(shot, (width, height)).astype(int)).mean() < 4


def test_union_of_steps_and_a_run_stopped_early(history):
    short = fake_history(steps=50, snapshots=12)
    spec = scrub({"long": history, "short": short}).spec
    assert spec["steps"] == sorted({*history.snapshot_steps, *short.snapshot_steps})
    assert spec["ends"] == [400, 50]
    last = spec["tiles"][1][-1]
    assert [
        tile for tile, step in zip(spec["tiles"][1], spec["steps"], strict=True) if step >= 50
    ].count(last) > 2
    assert spec["values"][1][-1] == pytest.approx(short.loss[-1], rel=1e-4)


def test_values_stand_beside_their_pictures(history):
    """Step k is after k updates: loss k was measured on the model that the picture shows."""
    spec = scrub(history, metric="Huber").spec
    assert spec["metric"] == "Huber"
    for i, step in enumerate(spec["steps"][:-1]):
        assert spec["values"][0][i] == pytest.approx(history.loss[step], rel=1e-4)
        assert spec["accuracy"][0][i] == pytest.approx(100 * history.accuracy[step], abs=0.01)
    steps, values = spec["curves"][0]
    assert len(steps) <= 300 and set(spec["steps"]) <= set(steps) and len(values) == len(steps)


def test_mimebundle(history):
    data, metadata = scrub({"V1": history, "V2": history}, name="02_training")._repr_mimebundle_()
    assert {"text/plain", "application/vnd.jupyter.widget-view+json"} <= set(data)
    assert data["text/plain"] == "Scrubber: V1, V2 over steps 0..400"
    assert metadata["screenshot"] == "02_training"
    poster, alt = still_of((data, metadata))
    assert "V1: loss" in alt
    assert poster.mode == "RGB" and 600 <= poster.width <= 1100
    assert "screenshot" not in scrub(history, alt="Three photographs")._repr_mimebundle_()[1]
    assert scrub(history, alt="Three photographs").spec["alt"] == "Three photographs"


@pytest.mark.parametrize("pictures,size", [(1, (64, 64)), (3, (512, 352)), (9, (48, 64))])
def test_any_number_and_shape_of_pictures(pictures, size):
    run = fake_history(pictures=pictures, size=size, snapshots=8)
    scrubber = scrub(run, titles=[f"no. {i}" for i in range(pictures)])
    spec = scrubber.spec
    assert spec["pictures"] == len(spec["titles"]) == min(pictures, 6)
    assert Image.open(io.BytesIO(scrubber.targets)).size == (
        spec["cell"][0] * spec["pictures"],
        spec["cell"][1],
    )
    assert spec["width"] / spec["cell"][0] < 8 and spec["width"] * spec["pictures"] < 760
    assert spec["width"] >= 96
    assert scrub(run, height=50).spec["width"] == round(50 * size[0] / size[1])


def test_numbers_that_json_does_not_know(history):
    run = History(loss=[1.0, float("nan"), float("inf"), 0.0, 0.5], snapshot_steps=[0, 2, 5])
    run.target, run.snapshots = history.target, history.snapshots[:3]
    spec = scrub(run).spec
    assert spec["values"] == [[1.0, None, 0.5]]
    assert spec["curves"] == [[[0, 4, 5], [1.0, 0.5, 0.5]]]
    json.dumps(spec, allow_nan=False)


def test_one_snapshot_is_enough(history):
    run = History(
        loss=[0.5], snapshot_steps=[0], snapshots=history.snapshots[:1], target=history.target
    )
    assert scrub(run).spec["steps"] == [0]


def test_what_is_refused(history):
    with pytest.raises(ValueError, match=r"'V9' has no snapshots yet; .*\(watched=images\)"):
        scrub({"V9": History()})
    with pytest.raises(ValueError, match="no histories given"):
        scrub({})
    with pytest.raises(ValueError, match="2 titles for 3 pictures"):
        scrub(history, titles=["a", "b"])
    with pytest.raises(ValueError, match="pictures of 'b'"):
        scrub({"a": history, "b": fake_history(pictures=2, snapshots=3)})


def test_budget_holds_for_noisy_films():
    scrubber = scrub({f"V{i}": noisy_films(1000, 6, 10, 48, i) for i in range(3)})
    assert len(scrubber.atlas) <= ATLAS_BYTES and len(scrubber.poster) <= 300_000
    assert (
        max(atlas_size(scrubber)) <= 16383 and np.prod(atlas_size(scrubber)) <= 1.1 * ATLAS_PIXELS
    )
    assert len(scrubber.spec["steps"]) >= 6 and scrubber.spec["pictures"] == 3
    saved = [
        base64.b64encode(v) if isinstance(v, bytes) else json.dumps(v)
        for v in scrubber.get_state().values()
    ]
    assert sum(map(len, saved)) <= 1_000_000


def test_films_have_a_second_axis():
    """Each model's, step's and frame's picture lies where the script looks, as do known frames."""
    runs = {"slow": fake_film(speed=0.5), "fast": fake_film(steps=50)}
    scrubber = scrub(runs)
    spec, sheet = scrubber.spec, decoded(scrubber)
    assert spec["cell"] == [64, 64] and spec["given"] == 4 and len(spec["frames"]) == 14
    assert (spec["frames"][1], spec["frames"][6]) == ("frame 2 of 4, given", "frame +3, predicted")
    assert (scrubber.frame, scrubber.index) == (4, len(spec["steps"]) - 1)
    for m, run in enumerate(runs.values()):
        for i in (0, len(spec["steps"]) // 2, len(spec["steps"]) - 1):
            last = max(k for k, step in enumerate(run.snapshot_steps) if step <= spec["steps"][i])
            for frame in (0, 4, 9):
                shown = film_tile(sheet, spec, spec["tiles"][m][i] + frame)
                assert np.abs(shown - run.snapshots[last][:, frame]).mean() < 5
    known = np.concatenate([run.context, run.target], axis=1)
    for frame in range(14):
        assert np.abs(film_tile(sheet, spec, spec["film"] + frame) - known[:, frame]).mean() < 5


def test_text_and_still_picture_of_films():
    data, metadata = scrub(
        {"V4": fake_film(), "V5": fake_film()}, name="04_scrubber"
    )._repr_mimebundle_()
    assert data["text/plain"] == "Scrubber: V4, V5 over steps 0..400 and 14 frames"
    assert metadata["screenshot"] == "04_scrubber"
    poster, alt = still_of((data, metadata))
    assert alt.startswith("10 frames as predicted, training step 0 to 400. V4: loss")
    assert poster.mode == "RGB" and 600 <= poster.width <= 920 and poster.height <= 960
    assert scrub(fake_film()).spec["names"] == ["prediction"]


@pytest.mark.parametrize(("given", "frames", "clips"), [(0, 5, 2), (1, 1, 1), (0, 1, 3), (8, 2, 6)])
def test_films_of_any_length(given, frames, clips):
    scrubber = scrub(fake_film(given=given, frames=frames, clips=clips))
    spec = scrubber.spec
    assert len(spec["frames"]) == given + frames and scrubber.frame == given
    assert spec["pictures"] == min(clips, 4) and not scrubber.targets
    assert given or spec["frames"][-1] == f"frame {frames} of {frames}"


def test_the_frames_of_the_model_that_was_given_most_are_shown():
    few, many = fake_film(given=2), fake_film(given=6)
    few.target, few.snapshots = many.target, many.snapshots
    spec = scrub({"few": few, "many": many}).spec
    assert spec["given"] == 6


def test_which_films_are_refused(history):
    film, short = fake_film(), fake_film(frames=9)
    with pytest.raises(ValueError, match="pictures of 'photo'"):
        scrub({"film": film, "photo": history})
    short.target = film.target
    with pytest.raises(
        ValueError, match=r"snapshots of 'short' are \(3, 9, 64, 64, 3\), not as \(3, 10,"
    ):
        scrub({"film": film, "short": short})


# --- the curves ---


def test_smoothing_keeps_the_ends_and_moves_nothing_in_time():
    falling = [(1 + step) ** -0.7 for step in range(2000)]
    steps, values = loss_curve(falling, [0, 700])
    assert smooth_curve(falling, steps) == values, "what falls steadily stays as it is"

    jump = [1.0] * 1000 + [0.1] * 1001
    steps, _ = loss_curve(jump, range(950, 1050))
    smooth = dict(zip(steps, smooth_curve(jump, steps), strict=True))
    assert smooth[999] == 1.0 and smooth[1000] == 0.1, "a jump stays where it is"

    random = np.random.default_rng(0)
    noisy = (np.array(falling) * np.exp(random.normal(0, 0.4, 2000))).tolist()
    steps, raw = loss_curve(noisy, [])
    smooth = smooth_curve(noisy, steps)
    assert (smooth[0], smooth[-1]) == (raw[0], raw[-1])
    far = [i for i, step in enumerate(steps) if 100 <= step <= 1500]
    truth = np.log([falling[steps[i]] for i in far])
    errors = [np.log([series[i] for i in far]) - truth for series in (smooth, raw)]
    assert np.std(errors[0]) < 0.35 * np.std(errors[1])
    assert abs(np.mean(errors[0])) < 0.05, "neither above nor below, so neither early nor late"


def test_smoothing_of_a_long_training_is_quick():
    """While it runs: of a million values each smoothed one is the median of a hundred."""
    loss = (2 - np.linspace(0, 1, 1_000_001)).tolist()
    steps, values = loss_curve(loss, [999_999])
    start = time.perf_counter()
    smooth = smooth_curve(loss, steps)
    assert time.perf_counter() - start < 0.5
    assert np.allclose(smooth, values, rtol=1e-3)


def test_smoothing_knows_what_a_log_axis_does_not():
    loss = [1.0, float("nan"), *[0.5, 0.0] * 50]
    steps, values = loss_curve(loss, [])
    assert set(smooth_curve(loss, steps)) == {1.0, 0.5} and len(values) == len(steps)


def test_a_training_is_smoothed_and_what_is_guessed_is_not(history):
    spec = scrub(history).spec
    assert len(spec["smooth"][0]) == len(spec["curves"][0][1]) and not spec["guess"]
    assert "smooth" not in scrub(history, axis="cell size").spec


def test_who_guesses_starts_at_the_beginning_and_is_told_nothing(history):
    guessed = scrub(history, metric="error", axis="cell size")
    assert guessed.index == 0 and guessed.spec["guess"]
    still, alt = still_of(guessed._repr_mimebundle_())
    assert alt == "Pictures as reconstructed, cell size 0 to 400."
    trained = scrub(history, metric="error")
    assert trained.index == len(trained.spec["steps"]) - 1
    other, _ = still_of(trained._repr_mimebundle_())
    below, told = (np.asarray(page.convert("L"))[-22:] for page in (still, other))
    assert below.min() > 200 > told.min(), "no value stands below the pictures"


def test_value_at():
    assert value_at([3.0, 2.0, 1.0], 1) == 2.0
    assert value_at([3.0, 2.0, 1.0], 99) == 1.0
    assert value_at([float("inf")], 0) is None


def test_what_has_too_many_pixels_or_bytes_is_not_packed():
    tiles = [np.zeros((2, 8, 8, 3), np.uint8)] * 4
    assert AtlasPacker().pack(tiles, (8, 8), 60).columns == 1
    assert AtlasPacker(budget=10).pack(tiles, (8, 8), 60) is None
    assert AtlasPacker().pack(tiles, (4096, 4096), 60) is None


def test_live_panel_is_for_jupyterlab_only(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("EON_LIVE", raising=False)
    monkeypatch.setattr(panel_module, "get_ipython", lambda: object())
    assert live_panel() is None
    monkeypatch.setenv("JPY_SESSION_NAME", "01.ipynb")
    assert live_panel("training").title == "training"
    monkeypatch.setenv("EON_LIVE", "0")
    assert live_panel() is None
    monkeypatch.delenv("JPY_SESSION_NAME")
    monkeypatch.setenv("EON_LIVE", "1")
    assert isinstance(live_panel(), LivePanel)


def test_live_panel_messages(history, monkeypatch):
    sent = []
    panel = LivePanel("V1")
    monkeypatch.setattr(panel, "send", lambda content, buffers: sent.append((content, buffers)))
    panel.steps = 1200
    panel.update(120, history, history.target, 34.5, 100.0)
    panel.update(121, history, None, 0.0, float("inf"))
    (first, (jpeg,)), (second, nothing) = sent
    assert (
        first["text"]
        == f"step 120 of 1,200 · loss {history.loss[120]:.3g} · 34.5 steps/s · 2 min left"
    )
    assert Image.open(io.BytesIO(jpeg)).size == (3 * 192, 132) and first["pictures"] == 3
    steps, values, smooth = first["curve"]
    assert len(steps) == len(values) == len(smooth) and smooth[-1] == values[-1]
    assert "left" not in second["text"] and not nothing
    panel.update(122, history, fake_film().target, 1.0, 1.0)
    assert (
        sent[2][0]["film"] == "Frames 1, 3, 5, 8, 10 of the first film now"
        and sent[2][0]["pictures"] == 5
    )
    assert Image.open(io.BytesIO(sent[2][1][0])).size == (5 * 64, 64)
    assert not panel.stop_requested
    panel._handle_custom_msg({"kind": "stop"}, [])
    assert panel.stop_requested
