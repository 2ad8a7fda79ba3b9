"""The loop's surroundings: same numbers again, stop, resume, loaders, divergence, a full disk."""

import asyncio
import gc
import os
import signal
import time
from itertools import chain
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, DistributedSampler

from eon_utils import ConvAutoencoder, History, TrainingRun, photos, threads, to_uint8
from eon_utils.training import checkpoint
from eon_utils.training.history import snapshot_steps

STEPS = 12


@pytest.fixture
def pictures():
    return photos((32, 32))


def noisy():
    return ConvAutoencoder(skips=True, noise=0.25)


def train(pictures, folder, steps=STEPS, stop_at=None, live=None, loss_of=None, **options):
    torch.manual_seed(0)
    run = TrainingRun(
        ConvAutoencoder(skips=True, noise=0.25),
        steps,
        name="t",
        watched=pictures,
        folder=folder,
        live=live,
        **options,
    )
    for step, batch in run.batches(pictures):
        loss = F.huber_loss(run(batch), batch)
        run.step(loss if loss_of is None else loss_of(step, loss))
        if step + 1 == stop_at:
            run.stopping = True
    return run


def same_weights(a, b):
    pairs = zip(a.module.state_dict().values(), b.module.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_same_seed_same_numbers(pictures, tmp_path):
    a, b = train(pictures, tmp_path / "a"), train(pictures, tmp_path / "b")
    assert a.history.loss == b.history.loss and same_weights(a, b)


def test_history_has_one_entry_a_step_and_snapshots_from_first_to_last(pictures, tmp_path):
    history = train(pictures, tmp_path).history
    assert len(history.loss) == len(history.seconds) == STEPS
    assert history.snapshot_steps[0] == 0 and history.snapshot_steps[-1] == STEPS
    assert history.snapshots[0].shape == (3, 32, 32, 3) and history.snapshots[0].dtype == np.uint8
    assert np.all(np.diff(history.seconds) > 0)


def test_snapshots_do_not_change_the_training(pictures, tmp_path):
    watched = train(
        pictures, tmp_path / "a", measure=lambda model: {"noise": torch.rand(()).item()}
    )
    torch.manual_seed(0)
    plain = TrainingRun(noisy(), STEPS, name="p", folder=tmp_path / "b")
    for _, batch in plain.batches(pictures):
        plain.step(F.huber_loss(plain(batch), batch))
    assert plain.history.loss == watched.history.loss


def test_at_most_sixty_snapshots_with_the_marks_among_them():
    at = snapshot_steps(5640, (210, 300, 5640))
    assert len(at) <= 60 and {0, 210, 300, 5640} <= at
    assert snapshot_steps(3, (210,)) == {0, 1, 2, 3}


def test_stopped_and_resumed_equals_uninterrupted(pictures, tmp_path):
    whole = train(pictures, tmp_path / "whole")
    half = train(pictures, tmp_path / "half", stop_at=5)
    assert half.status == "stopped" and len(half.history.loss) == 5
    resumed = train(pictures, tmp_path / "half", resume=True)
    assert resumed.status == "finished"
    assert resumed.history.loss == whole.history.loss and same_weights(resumed, whole)
    assert resumed.history.snapshot_steps == sorted(set(whole.history.snapshot_steps) | {5})


@pytest.mark.parametrize("leave", ["break", "error"])
def test_a_loop_that_is_left_is_saved(pictures, tmp_path, leave):
    whole = train(pictures, tmp_path / "whole")

    def five_steps():
        torch.manual_seed(0)
        run = TrainingRun(noisy(), STEPS, name="t", folder=tmp_path / "left", watched=pictures)
        for step, batch in run.batches(pictures):
            run.step(F.huber_loss(run(batch), batch))
            if step == 4 and leave == "break":
                break
            if step == 4:
                raise KeyError("a mistake of the reader's")
        return run

    if leave == "break":
        run = five_steps()
        assert run.status == "stopped" and run.done == 5 and len(run.history.seconds) == 5
    else:
        with pytest.raises(KeyError):
            five_steps()
    gc.collect()
    resumed = train(pictures, tmp_path / "left", resume=True)
    assert resumed.status == "finished"
    assert resumed.history.loss == whole.history.loss and same_weights(resumed, whole)


def test_saved_inside_the_loop_is_what_was_done(pictures, tmp_path):
    whole = train(pictures, tmp_path / "whole")
    torch.manual_seed(0)
    run = TrainingRun(noisy(), STEPS, name="t", folder=tmp_path / "kept", watched=pictures)
    for step, batch in run.batches(pictures):
        run.step(F.huber_loss(run(batch), batch))
        if step == 4:
            run.save()
            kept = run.path.read_bytes()
            assert run.done == 5
    assert run.done == STEPS and same_weights(run, whole)
    run.path.write_bytes(kept)
    resumed = train(pictures, tmp_path / "kept", resume=True)
    assert resumed.history.loss == whole.history.loss and same_weights(resumed, whole)


def test_resuming_a_finished_run_trains_nothing(pictures, tmp_path):
    first = train(pictures, tmp_path)
    again = train(pictures, tmp_path, resume=True)
    assert again.history.loss == first.history.loss and same_weights(first, again)


def test_resume_without_a_checkpoint_starts_anew(pictures, tmp_path, capsys):
    assert train(pictures, tmp_path, resume=True).status == "finished"
    assert "no checkpoint to resume" in capsys.readouterr().out


def test_resume_into_another_model_names_the_remedy(pictures, tmp_path):
    train(pictures, tmp_path)
    with pytest.raises(ValueError, match="resume=False"):
        TrainingRun(ConvAutoencoder(widths=(8,)), STEPS, name="t", folder=tmp_path, resume=True)


def test_resume_with_other_pictures_names_the_remedy(pictures, tmp_path):
    train(pictures, tmp_path)
    with pytest.raises(ValueError, match=r"other pictures.*|resume=False"):
        train(pictures.flip(0), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"noise": 0.9}, "it was trained with noise=0.25, not 0.9"),
        ({"lr": 1e-2}, "it was trained with lr=0.001, not 0.01"),
        ({"optimizer": torch.optim.SGD}, "it was trained with optimizer=Adam, not SGD"),
        ({"betas": (0.8, 0.99)}, r"it was trained with betas=\[0.9, 0.999\], not \[0.8, 0.99\]"),
        ({"steps": STEPS - 1}, f"{STEPS} steps are done, and steps={STEPS - 1}"),
    ],
)
def test_a_checkpoint_of_another_experiment_is_refused(pictures, tmp_path, other, said):
    train(pictures, tmp_path)
    before = (tmp_path / "t.safetensors").read_bytes()
    model = ConvAutoencoder(skips=True, noise=other.get("noise", 0.25))
    options = {"lr": other.get("lr", 1e-3)}
    if "betas" in other:
        options["betas"] = other["betas"]
    optimizer = other.get("optimizer", torch.optim.Adam)(model.parameters(), **options)
    with pytest.raises(ValueError, match=rf"cannot resume from t.safetensors.*{said}"):
        TrainingRun(
            model,
            other.get("steps", STEPS),
            name="t",
            optimizer=optimizer,
            watched=pictures,
            folder=tmp_path,
            resume=True,
        )
    assert (tmp_path / "t.safetensors").read_bytes() == before


def net(activation=torch.nn.ReLU, stride=1, groups=2):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1, stride=stride), torch.nn.GroupNorm(groups, 4), activation()
    )


def counted(module):
    """What adds one at each use: no other experiment when it is resumed."""
    module.uses = 0
    module.register_forward_pre_hook(lambda *_: setattr(module, "uses", module.uses + 1))
    return module


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"model": net(torch.nn.GELU)}, "2=ReLU, not GELU"),
        ({"model": net(stride=2)}, r"0.stride=\[1, 1\], not \[2, 2\]"),
        ({"model": net(groups=4)}, "1.num_groups=2, not 4"),
        ({"warmup": 3}, "warmup=0, not 3"),
        ({"cooldown": 0.5}, "cooldown=0.0, not 0.5"),
        ({"clip_norm": 1.0}, "clip_norm=None, not 1.0"),
        ({"rates": (1e-3, 1e-2)}, "group 1.lr=0.001, not 0.01"),
        ({"amsgrad": True}, "amsgrad=False, not True"),
    ],
)
def test_whatever_else_shapes_a_training_is_compared(tmp_path, other, said):
    def run(model=None, rates=(1e-3, 1e-3), amsgrad=False, **options):
        torch.manual_seed(0)
        model = counted(model or net())
        pairs = zip((model[0], model[1]), rates, strict=True)
        groups = [{"params": part.parameters(), "lr": rate} for part, rate in pairs]
        optimizer = torch.optim.Adam(groups, amsgrad=amsgrad)
        options |= {"name": "t", "optimizer": optimizer, "folder": tmp_path}
        return TrainingRun(model, 4, **options)

    first = run(cooldown=0.0)
    for _step, batch in first.batches(torch.rand(2, 3, 4, 4)):
        first.step(first(batch).square().mean())
    assert run(resume=True).done == 4
    with pytest.raises(ValueError, match=f"it was trained with {said}"):
        run(resume=True, **other)


def test_more_steps_go_on_from_fewer(pictures, tmp_path):
    train(pictures, tmp_path)
    assert train(pictures, tmp_path, steps=STEPS + 3, resume=True).done == STEPS + 3


def test_a_damaged_checkpoint_names_the_remedy(pictures, tmp_path):
    (tmp_path / "t.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00 not safetensors")
    with pytest.raises(ValueError, match="resume=False"):
        train(pictures, tmp_path, resume=True)


def test_a_new_run_keeps_the_checkpoint_of_the_one_before(pictures, tmp_path):
    train(pictures, tmp_path)
    before = (tmp_path / "t.safetensors").read_bytes()
    train(pictures, tmp_path, steps=3)
    assert (tmp_path / "t.previous.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_the_same_run_again_needs_no_second_file(pictures, tmp_path):
    train(pictures, tmp_path)
    train(pictures, tmp_path, steps=3)
    train(pictures, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
    train(pictures.flip(0), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "work on other pictures is kept"


def test_a_full_disk_warns_and_the_training_goes_on(pictures, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.warns(UserWarning, match="No space left"):
        run = train(pictures, tmp_path)
    assert run.status == "finished" and len(run.history.loss) == STEPS


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e9])
def test_divergence_keeps_the_last_good_state(pictures, tmp_path, capsys, bad):
    run = train(
        pictures, tmp_path, steps=40, loss_of=lambda step, loss: loss * bad if step == 20 else loss
    )
    assert run.status == "diverged" and run.done <= 20
    assert "diverged at step 20" in capsys.readouterr().out
    assert (
        len(run.history.loss)
        == len(run.history.seconds)
        == run.done
        == run.history.snapshot_steps[-1]
    )
    assert all(torch.isfinite(p).all() for p in run.module.parameters())
    output = to_uint8(run.module.eval()(pictures))
    assert np.array_equal(output, run.history.snapshots[-1])


@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGINT,),
        (signal.SIGTERM,),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGTERM),
    ],
)
def test_a_signal_stops_after_the_step_and_is_given_back(pictures, tmp_path, signals, capsys):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def interrupt(step, loss):
        if step == 4:
            for number in signals:
                os.kill(os.getpid(), number)
        return loss

    run = train(pictures, tmp_path, loss_of=interrupt)
    assert run.status == "stopped" and run.done == 5 and run.history.snapshot_steps[-1] == 5
    assert "t: stopped after 5 of 12 steps" in capsys.readouterr().out
    assert int(checkpoint.about(run.path)["step"]) == 5
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_error_in_the_loop_is_passed_on_and_the_handler_given_back(pictures, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError):
        train(pictures, tmp_path, loss_of=lambda step, loss: 1 // 0 if step == 3 else loss)
    assert signal.getsignal(signal.SIGINT) is before


class FakePanel:
    def __init__(self, stop_at):
        self.stop_at, self.calls, self.stop_requested = stop_at, [], False

    def start(self, name, steps):
        self.calls.append("start")

    def update(self, step, history, image, rate, eta):
        assert image.dtype == np.uint8 and rate > 0 and eta >= 0
        self.stop_requested = step >= self.stop_at

    def finish(self, summary):
        self.calls.append(summary)


def test_the_panel_is_told_and_its_stop_is_heard(pictures, tmp_path):
    panel = FakePanel(stop_at=1)
    run = train(pictures, tmp_path, steps=10_000, live=panel)
    assert run.status == "stopped" and run.done < 10_000
    assert panel.calls[0] == "start" and "stopped after" in panel.calls[-1]


def test_async_for_gives_the_same_numbers_and_lets_others_run(pictures, tmp_path):
    async def loop():
        torch.manual_seed(0)
        run = TrainingRun(
            ConvAutoencoder(skips=True, noise=0.25),
            STEPS,
            name="t",
            watched=pictures,
            folder=tmp_path,
        )
        async for _, batch in run.batches(pictures):
            run.step(F.huber_loss(run(batch), batch))
        return run

    assert asyncio.run(loop()).history.loss == train(pictures, tmp_path / "plain").history.loss


class Numbers(torch.utils.data.Dataset):
    """Twelve pictures; item i has the value i / 12."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.full((3, 32, 32), index / 12)


def values(batches):
    return [[round(12 * picture[0, 0, 0].item()) for picture in batch] for batch in batches]


def seen_by(loader, folder, steps, **settings):
    torch.manual_seed(0)
    run = TrainingRun(ConvAutoencoder(), steps, name="loader", folder=folder, **settings)
    seen = []
    for _, batch in run.batches(loader):
        seen.append(batch)
        run.step(F.huber_loss(run(batch), batch))
    return values(seen), run


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_begins_anew_when_it_is_through(tmp_path, workers):
    seen, _ = seen_by(DataLoader(Numbers(), 5, num_workers=workers), tmp_path, 5)
    assert seen == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11], [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_goes_on_in_the_middle_of_its_loader(tmp_path, workers):
    loader = DataLoader(Numbers(), 2, num_workers=workers)
    finished, one = seen_by(loader, tmp_path / "one", 8)
    first, _ = seen_by(loader, tmp_path / "two", 4)
    rest, two = seen_by(loader, tmp_path / "two", 8, resume=True)
    assert first + rest == finished
    assert two.history.loss == one.history.loss


def test_what_is_skipped_is_not_loaded(tmp_path):
    class Counted(Numbers):
        loaded: ClassVar[list] = []

        def __getitem__(self, index):
            self.loaded.append(index)
            return super().__getitem__(index)

    loader = DataLoader(Counted(), 2)
    seen_by(loader, tmp_path, 4)
    Counted.loaded.clear()
    seen_by(loader, tmp_path, 5, resume=True)
    assert Counted.loaded == [8, 9]


def test_a_loader_draws_none_of_the_trainings_numbers(pictures, tmp_path):
    def losses(stream, folder):
        torch.manual_seed(0)
        run = TrainingRun(noisy(), 6, name="n", folder=folder)
        for _, batch in run.batches(stream):
            run.step(F.huber_loss(run(batch), batch))
        return run.history.loss

    loader = DataLoader(pictures, len(pictures))
    assert losses(loader, tmp_path / "a") == losses(pictures, tmp_path / "b")


def test_the_order_follows_the_epoch_of_a_sampler(tmp_path):
    sampler = DistributedSampler(Numbers(), 1, 0, shuffle=True, seed=3)
    loader = DataLoader(Numbers(), 6, sampler=sampler)
    finished, _ = seen_by(loader, tmp_path / "one", 4)
    for epoch in (finished[:2], finished[2:]):
        assert sorted(chain(*epoch)) == list(range(12))
    assert finished[:2] != finished[2:]
    seen_by(loader, tmp_path / "two", 3)
    assert seen_by(loader, tmp_path / "two", 4, resume=True)[0] == finished[3:]


def test_a_loader_without_a_batch_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="loader: the loader has no batch"):
        seen_by(DataLoader(Numbers(), 20, drop_last=True), tmp_path, 4)


def test_a_stream_is_taken_as_it_comes(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return (Numbers()[index] for index in range(3))

    assert seen_by(DataLoader(Stream(), 2), tmp_path, 4)[0] == [[0, 1], [2], [0, 1], [2]]
    with pytest.raises(ValueError, match="loader: the loader has no batch"):  # and does not hang
        seen_by(DataLoader(Stream(), 5, drop_last=True), tmp_path, 4)


def test_learning_rates_rise_and_fall(pictures, tmp_path):
    torch.manual_seed(0)
    run = TrainingRun(
        ConvAutoencoder(),
        10,
        name="lr",
        lr=1.0,
        warmup=3,
        cooldown=0.5,
        explode=1e12,
        folder=tmp_path,
    )
    rates = []
    for _ in run.batches(pictures):
        rates.append(run.optimizer.param_groups[0]["lr"])
        run.optimizer.step()
        run.log(torch.tensor(1.0))
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]


def test_a_resumed_run_has_the_learning_rate_of_its_step(pictures, tmp_path):
    options = {"cooldown": 0.5, "warmup": 3}
    finished = train(pictures, tmp_path / "one", **options)
    train(pictures, tmp_path / "two", stop_at=8, **options)
    resumed = train(pictures, tmp_path / "two", resume=True, **options)
    assert resumed.history.loss == finished.history.loss


def test_a_run_ends_when_its_seconds_are_over(pictures, tmp_path, capsys):
    run = train(pictures, tmp_path, steps=1_000_000, seconds=0.5, cooldown=0.5)
    assert run.status == "finished" and 0.5 <= run.history.spent < 1.5
    assert run.optimizer.param_groups[0]["lr"] < 1e-4, "the learning rate has fallen with the time"
    assert "of 1,000,000" not in capsys.readouterr().out


def test_the_time_to_load_a_batch_counts(tmp_path):
    class Slow(Numbers):
        def __getitem__(self, index):
            time.sleep(0.02)
            return super().__getitem__(index)

    _, run = seen_by(DataLoader(Slow(), 4), tmp_path, 1_000_000, seconds=0.4)
    assert run.status == "finished" and run.done <= 5
    assert run.history.spent >= 0.08 * run.done


def test_the_moving_average_is_kept_shown_and_resumed(pictures, tmp_path):
    options = {"average": 0.9}
    finished = train(pictures, tmp_path / "one", **options)
    assert not same_weights(finished, SimpleNamespace(module=finished.trained))
    with torch.no_grad():
        shown = to_uint8(finished.trained.eval()(pictures))
    assert np.array_equal(shown, finished.history.snapshots[-1])
    train(pictures, tmp_path / "two", stop_at=5, **options)
    resumed = train(pictures, tmp_path / "two", resume=True, **options)
    assert same_weights(
        SimpleNamespace(module=resumed.trained), SimpleNamespace(module=finished.trained)
    )


def test_gradients_are_clipped(pictures, tmp_path):
    norms = []

    def note(optimizer, *_):
        gradients = [p.grad.norm() for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.stack(gradients).norm().item())

    torch.manual_seed(0)
    model = ConvAutoencoder()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.register_step_pre_hook(note)
    run = TrainingRun(model, 3, name="c", optimizer=optimizer, clip_norm=1e-4, folder=tmp_path)
    for _, batch in run.batches(pictures):
        run.step(F.huber_loss(run(batch), batch))
    assert len(norms) == 3 and max(norms) < 1.001e-4


def test_first_reaches():
    history = History(loss=[1, 1, 1], accuracy=[0.5, 0.97, 0.98], seconds=[1, 2, 3])
    assert history.first(0.97) == (1, 2) and history.first(0.99) is None


def test_tensorboard_on_request(pictures, tmp_path):
    pytest.importorskip("tensorboard")
    train(pictures, tmp_path, tensorboard=True)
    assert list((tmp_path / "t").glob("events.*"))


class NextFrames(torch.nn.Module):
    """(N, C, 3, H, W) -> the frame after them, (N, 3, H, W)."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, frames):
        return self.layer(frames[:, -2:].flatten(1, 2))


def three_ahead(model, frames):
    for _ in range(3):
        frames = torch.cat([frames, model(frames)[:, None]], dim=1)
    return frames[:, -3:]


@pytest.fixture
def films():
    return torch.rand(
        2, 7, 3, 16, 20, generator=torch.Generator().manual_seed(0)
    )  # four given, three to predict


def train_film(films, folder, stop_at=None, steps=STEPS, **options):
    torch.manual_seed(0)
    options = {"watched": films[:, :4], "target": films[:, 4:], "predict": three_ahead} | options
    run = TrainingRun(NextFrames(), steps, name="film", folder=folder, **options)
    for step, batch in run.batches(films):
        run.step(F.mse_loss(run(batch[:, :4]), batch[:, 4]))
        if step + 1 == stop_at:
            run.stopping = True
    return run


def test_snapshots_of_films(films, tmp_path):
    run = train_film(films, tmp_path)
    history = run.history
    assert (
        {shot.shape for shot in history.snapshots} == {history.target.shape} == {(2, 3, 16, 20, 3)}
    )
    assert np.array_equal(history.target, to_uint8(films[:, 4:]))
    assert np.array_equal(history.context, to_uint8(films[:, :4]))
    ahead = three_ahead(run.module, films[:, :4]).detach()
    assert np.array_equal(history.snapshots[-1], to_uint8(ahead))


def test_a_film_stopped_and_resumed_equals_uninterrupted(films, tmp_path):
    whole = train_film(films, tmp_path / "whole")
    train_film(films, tmp_path / "half", stop_at=5)
    resumed = train_film(films, tmp_path / "half", resume=True)
    assert resumed.history.loss == whole.history.loss and same_weights(resumed, whole)
    assert resumed.history.snapshots[1].shape == (2, 3, 16, 20, 3)
    assert np.array_equal(resumed.history.snapshots[-1], whole.history.snapshots[-1])
    with pytest.raises(ValueError, match="other pictures"):
        train_film(films, tmp_path / "half", resume=True, watched=films[:, 1:4])


def test_without_a_target_what_is_watched_is_one(films, pictures, tmp_path):
    whole = train_film(
        films, tmp_path, target=None, predict=lambda model, frames: frames, steps=2
    ).history
    assert np.array_equal(whole.target, to_uint8(films[:, :4])) and whole.context is None
    assert train(pictures, tmp_path, steps=2).history.context is None


def test_a_prediction_of_another_length_is_an_error_at_once(films, tmp_path):
    with pytest.raises(
        ValueError, match=r"film: what is watched becomes \(2, 3, .*, the target is \(2, 2, "
    ):
        train_film(films, tmp_path, target=films[:, 5:])


def test_pictures_of_films_are_pictures_of_their_frames():
    films = torch.rand(2, 3, 3, 32, 512)
    made = to_uint8(films)
    assert made.shape == (2, 3, 16, 256, 3)
    assert np.array_equal(made[1], to_uint8(films[1]))


def test_stop_is_heard_though_a_film_takes_long_to_predict(films, tmp_path):
    class SlowPanel(FakePanel):
        def update(self, step, history, image, rate, eta):
            assert image.shape == (2, 3, 16, 20, 3)
            self.calls.append("update")
            time.sleep(0.2)  # so the next update is 0.6 s away

    panel = SlowPanel(stop_at=0)
    torch.manual_seed(0)
    options = {
        "watched": films[:, :4],
        "target": films[:, 4:],
        "predict": three_ahead,
        "folder": tmp_path,
    }
    run = TrainingRun(NextFrames(), 100_000, name="film", live=panel, **options)
    for step, batch in run.batches(films):
        run.step(F.mse_loss(run(batch[:, :4]), batch[:, 4]))
        panel.stop_requested = step == 20
    assert run.done == 21 and panel.calls.count("update") < 3


def test_a_long_training_looks_at_the_cores_now_and_then(pictures, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(threads, "settle_threads", lambda busy: asked.append(busy) or "Fewer now.")
    threads.core_watch.cache_clear()
    train(pictures, tmp_path / "short")
    assert not asked
    monkeypatch.setattr(threads, "LOOK_EVERY", 0.0)
    train(pictures, tmp_path / "long")
    assert len(asked) == STEPS and min(asked) >= 0
    assert "Fewer now." in capsys.readouterr().out


# --- nothing that was trained is lost ---


def test_resumed_and_diverged_at_once_it_keeps_what_the_checkpoint_had(pictures, tmp_path):
    kept = train(pictures, tmp_path, steps=10**6, stop_at=21)
    weights = {key: value.clone() for key, value in kept.module.state_dict().items()}
    assert not {21, 22} & kept.snapshot_steps, "or the state is kept by a snapshot"
    run = train(
        pictures,
        tmp_path,
        steps=10**6,
        resume=True,
        loss_of=lambda step, loss: loss * (float("nan") if step == 22 else 1e3),
    )
    assert run.status == "diverged" and run.done == 21
    for state in (run.module.state_dict(), checkpoint.read(run.path)[1]):
        for key, value in weights.items():
            assert torch.equal(state.get(key, state.get(f"model.{key}")), value)


@pytest.mark.parametrize("at", [5, STEPS])
def test_an_error_in_a_measure_does_not_cost_the_training(pictures, tmp_path, at):
    def measure(model):
        if len(seen) == at:
            raise ZeroDivisionError("a mistake of the reader's")
        seen.append(model)
        return {}

    seen = []
    with pytest.raises(ZeroDivisionError):
        train(pictures, tmp_path, measure=measure)
    assert int(checkpoint.about(tmp_path / "t.safetensors")["step"]) == at


def test_an_error_of_the_data_does_not_cost_the_training(tmp_path):
    class Broken(Numbers):
        def __getitem__(self, index):
            if index == 7:
                raise OSError("a file is gone")
            return super().__getitem__(index)

    with pytest.raises(OSError, match="a file is gone"):
        seen_by(DataLoader(Broken(), 2), tmp_path, 6)
    assert int(checkpoint.about(tmp_path / "loader.safetensors")["step"]) == 3


def test_an_error_at_once_leaves_no_checkpoint(pictures, tmp_path):
    with pytest.raises(ZeroDivisionError):
        train(pictures, tmp_path, measure=lambda model: {"share": 1 / 0})
    assert not list(tmp_path.iterdir())


def test_a_break_in_async_for_is_over_at_once(pictures, tmp_path):
    async def loop():
        torch.manual_seed(0)
        run = TrainingRun(noisy(), STEPS, name="t", folder=tmp_path)
        async for step, batch in run.batches(pictures):
            run.step(F.huber_loss(run(batch), batch))
            if step == 4:
                break
        return run.status, run.done, run.module.training, run.path.exists()

    assert asyncio.run(loop()) == ("stopped", 5, False, True)


def test_the_panel_is_told_the_seconds_that_are_left(pictures, tmp_path):
    class Panel(FakePanel):
        def update(self, step, history, image, rate, eta):
            self.calls.append(eta)
            assert eta <= 1.0

    panel = Panel(stop_at=0)
    train(pictures, tmp_path, steps=10**9, seconds=1.0, live=panel)
    assert len(panel.calls) > 3
