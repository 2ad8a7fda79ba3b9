"""The loop's surroundings: same numbers again, stop, resume, divergence, a full disk, several processes."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import eon_utils.training.run as training
from eon_utils import ConvAutoencoder, TrainingRun, photos

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
        probe=pictures,
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
    watched = train(pictures, tmp_path / "a", measure=lambda model: {"noise": torch.rand(()).item()})
    torch.manual_seed(0)
    plain = TrainingRun(noisy(), STEPS, name="p", folder=tmp_path / "b")
    for _, batch in plain.batches(pictures):
        plain.step(F.huber_loss(plain(batch), batch))
    assert plain.history.loss == watched.history.loss


def test_at_most_sixty_snapshots_with_the_marks_among_them():
    at = training._log_spaced(5640, (210, 300, 5640))
    assert len(at) <= 60 and {0, 210, 300, 5640} <= at
    assert training._log_spaced(3, (210,)) == {0, 1, 2, 3}


def test_stopped_and_resumed_equals_uninterrupted(pictures, tmp_path):
    whole = train(pictures, tmp_path / "whole")
    half = train(pictures, tmp_path / "half", stop_at=5)
    assert half.status == "stopped" and len(half.history.loss) == 5
    resumed = train(pictures, tmp_path / "half", resume=True)
    assert resumed.status == "finished"
    assert resumed.history.loss == whole.history.loss and same_weights(resumed, whole)
    assert resumed.history.snapshot_steps == sorted(set(whole.history.snapshot_steps) | {5})


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

    monkeypatch.setattr(training, "save_file", full)
    with pytest.warns(UserWarning, match="No space left"):
        run = train(pictures, tmp_path)
    assert run.status == "finished" and len(run.history.loss) == STEPS


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e9])
def test_divergence_keeps_the_last_good_state(pictures, tmp_path, capsys, bad):
    run = train(pictures, tmp_path, steps=40, loss_of=lambda step, loss: loss * bad if step == 20 else loss)
    assert run.status == "diverged" and run.done <= 20
    assert "diverged at step 20" in capsys.readouterr().out
    assert len(run.history.loss) == len(run.history.seconds) == run.done == run.history.snapshot_steps[-1]
    assert all(torch.isfinite(p).all() for p in run.module.parameters())
    output = training.to_uint8(run.module.eval()(pictures))
    assert np.array_equal(output, run.history.snapshots[-1])


def test_the_interrupt_button_stops_after_the_step_and_is_given_back(pictures, tmp_path):
    before = signal.getsignal(signal.SIGINT)

    def interrupt(step, loss):
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    run = train(pictures, tmp_path, loss_of=interrupt)
    assert run.status == "stopped" and run.done == 5 and run.history.snapshot_steps[-1] == 5
    assert signal.getsignal(signal.SIGINT) is before


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
            ConvAutoencoder(skips=True, noise=0.25), STEPS, name="t", probe=pictures, folder=tmp_path
        )
        async for _, batch in run.batches(pictures):
            run.step(F.huber_loss(run(batch), batch))
        return run

    assert asyncio.run(loop()).history.loss == train(pictures, tmp_path / "plain").history.loss


def test_a_stream_is_a_function_of_the_step(pictures, tmp_path):
    run = TrainingRun(ConvAutoencoder(), 4, name="s", folder=tmp_path)
    seen = []
    for _, batch in run.batches(lambda step: seen.append(step) or pictures):
        run.step(F.huber_loss(run(batch), batch))
    assert seen == [0, 1, 2, 3]


def test_first_reaches():
    history = training.History(loss=[1, 1, 1], accuracy=[0.5, 0.97, 0.98], seconds=[1, 2, 3])
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
    return torch.rand(2, 7, 3, 16, 20, generator=torch.Generator().manual_seed(0))  # four given, three to predict


def train_film(films, folder, stop_at=None, steps=STEPS, **options):
    torch.manual_seed(0)
    options = {"probe": films[:, :4], "target": films[:, 4:], "predict": three_ahead} | options
    run = TrainingRun(NextFrames(), steps, name="film", folder=folder, **options)
    for step, batch in run.batches(films):
        run.step(F.mse_loss(run(batch[:, :4]), batch[:, 4]))
        if step + 1 == stop_at:
            run.stopping = True
    return run


def test_snapshots_of_films(films, tmp_path):
    run = train_film(films, tmp_path)
    history = run.history
    assert {shot.shape for shot in history.snapshots} == {history.target.shape} == {(2, 3, 16, 20, 3)}
    assert np.array_equal(history.target, training.to_uint8(films[:, 4:]))
    assert np.array_equal(history.context, training.to_uint8(films[:, :4]))
    ahead = three_ahead(run.module, films[:, :4]).detach()
    assert np.array_equal(history.snapshots[-1], training.to_uint8(ahead))


def test_a_film_stopped_and_resumed_equals_uninterrupted(films, tmp_path):
    whole = train_film(films, tmp_path / "whole")
    train_film(films, tmp_path / "half", stop_at=5)
    resumed = train_film(films, tmp_path / "half", resume=True)
    assert resumed.history.loss == whole.history.loss and same_weights(resumed, whole)
    assert resumed.history.snapshots[1].shape == (2, 3, 16, 20, 3)
    assert np.array_equal(resumed.history.snapshots[-1], whole.history.snapshots[-1])
    with pytest.raises(ValueError, match="other pictures"):
        train_film(films, tmp_path / "half", resume=True, probe=films[:, 1:4])


def test_without_a_target_the_probe_is_one(films, pictures, tmp_path):
    whole = train_film(films, tmp_path, target=None, predict=lambda model, frames: frames, steps=2).history
    assert np.array_equal(whole.target, training.to_uint8(films[:, :4])) and whole.context is None
    assert train(pictures, tmp_path, steps=2).history.context is None


def test_a_prediction_of_another_length_is_an_error_at_once(films, tmp_path):
    with pytest.raises(ValueError, match=r"film: the probe's pictures are \(2, 3, .*, the target's \(2, 2, "):
        train_film(films, tmp_path, target=films[:, 5:])


def test_pictures_of_films_are_pictures_of_their_frames():
    films = torch.rand(2, 3, 3, 32, 512)
    made = training.to_uint8(films)
    assert made.shape == (2, 3, 16, 256, 3)
    assert np.array_equal(made[1], training.to_uint8(films[1]))


def test_stop_is_heard_though_a_film_takes_long_to_predict(films, tmp_path):
    class SlowPanel(FakePanel):
        def update(self, step, history, image, rate, eta):
            assert image.shape == (2, 3, 16, 20, 3)
            self.calls.append("update")
            time.sleep(0.2)  # so the next update is 0.6 s away

    panel = SlowPanel(stop_at=0)
    torch.manual_seed(0)
    options = {"probe": films[:, :4], "target": films[:, 4:], "predict": three_ahead, "folder": tmp_path}
    run = TrainingRun(NextFrames(), 100_000, name="film", live=panel, **options)
    for step, batch in run.batches(films):
        run.step(F.mse_loss(run(batch[:, :4]), batch[:, 4]))
        panel.stop_requested = step == 20
    assert run.done == 21 and panel.calls.count("update") < 3


def test_two_processes_train_one_model(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(f"""
        import torch, torch.nn.functional as F
        from lightning_fabric import Fabric
        from eon_utils import ConvAutoencoder, TrainingRun, photos
        if __name__ == "__main__":
            fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
            fabric.launch()
            torch.manual_seed(0)
            pictures = photos((32, 32))
            here = {str(tmp_path)!r}
            run = TrainingRun(ConvAutoencoder(), 4, name="two", probe=pictures, folder=here, fabric=fabric)
            for step, batch in run.batches(lambda step: pictures[fabric.global_rank :: 2]):
                run.step(F.huber_loss(run(batch), batch))
            total = sum(p.double().sum() for p in run.module.parameters())
            sums = fabric.all_gather(total)
            assert torch.allclose(sums[0], sums[1]), sums
        """)
    )
    env = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, timeout=180, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "two.safetensors").exists() and done.stdout.count("finished after 4 steps") == 1
