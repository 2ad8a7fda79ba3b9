"""The prior: its contract, its classical start, its fit to the past, its training, and what ships."""

import copy
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import eon_utils as eon
from eon_utils.training import train_prior as prior_training
from eon_utils.training import train_autoencoder as recipes
from eon_utils.models import weight_files as weights
from eon_utils.models.optical_flow import lucas_kanade, refine_flow_from_zero, solve_linear, warp, dominant_motion
from eon_utils.models.prior import Prior, load_prior, ridge_weights, save_prior, leave_one_out_weights

sys.path.insert(0, str(Path(__file__).parent))
import benchmark_prediction as rivals

REAL = Path(__file__).resolve().parents[2] / "shared" / "videos"
real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the camera clips in ../shared/videos, no part of this")


def untrained(**design):
    torch.manual_seed(0)
    return Prior(**design).eval()


@pytest.fixture(scope="module")
def prior():
    return load_prior()


@pytest.fixture(scope="module")
def held_out():
    return {source: make(12, 6, 64, 5, 0, False) for source, make in eon.videos.SOURCES.items()}


def moving(dx, dy, frames=5, size=64):
    """A clip of a hundred soft blobs that move by (dx, dy) pixels a frame."""
    rng = torch.Generator().manual_seed(0)
    centres, heights = torch.rand(2, 100, generator=rng) * (size + 20) - 10, torch.rand(100, generator=rng) - 0.5
    here, clip = torch.arange(size) * 1.0, []
    for t in range(frames):
        across, down = ((here[:, None] - c - t * d) / 4 for c, d in zip(centres, (dx, dy), strict=True))
        clip.append(0.5 + torch.einsum("k,yk,xk->yx", heights, (-(down**2)).exp(), (-(across**2)).exp()))
    return torch.stack(clip)[None, :, None].expand(1, -1, 3, -1, -1).clamp(0, 1).contiguous()


@pytest.mark.parametrize(
    ("frames", "high", "wide"), [(2, 64, 64), (3, 16, 16), (4, 32, 48), (5, 80, 112), (8, 128, 64)]
)
def test_any_length_and_any_multiple_of_sixteen(prior, frames, high, wide):
    clips = torch.rand(2, frames, 3, high, wide)
    made = prior.predict(clips)
    assert made.shape == (2, 3, high, wide) and made.dtype == torch.float32 and not made.requires_grad
    assert made.min() >= 0 and made.max() <= 1 and made.isfinite().all()
    assert prior.predict(clips, steps=3).shape == (2, 3, 3, high, wide)
    assert prior.flow(clips).shape == (2, 2, high, wide)
    assert prior.features(clips).shape == prior.features(torch.rand(1, 2, 3, 64, 64)).expand(2, -1).shape


@pytest.mark.parametrize(
    "shape", [(1, 1, 3, 64, 64), (1, 5, 1, 64, 64), (5, 3, 64, 64), (1, 5, 3, 60, 64), (1, 5, 3, 64, 0)]
)
@pytest.mark.parametrize("method", ["predict", "flow", "features"])
def test_wrong_shapes_are_named(prior, method, shape):
    with pytest.raises(ValueError, match=r"T >= 2.*multiples of 16, not \(" + str(shape)[1:-1].replace(" ", ".")):
        getattr(prior, method)(torch.rand(shape))


def test_no_steps_are_an_error(prior):
    with pytest.raises(ValueError, match="steps=0"):
        prior.predict(torch.rand(1, 3, 3, 16, 16), steps=0)


def test_a_clip_is_predicted_alike_alone_and_among_others(prior):
    clips = eon.videos.leaves(3, 5, 64, 3, 0, False)
    together = prior.predict(clips)
    alone = torch.cat([prior.predict(clip[None]) for clip in clips])
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.equal(together, prior.predict(clips))


def test_steps_feed_its_own_frames_back(prior):
    clips = eon.videos.leaves(1, 5, 32, 3, 0, False)
    first = prior.predict(clips)
    second = prior.explain(torch.cat([clips, first[:, None]], 1)).frame.clamp(0, 1)
    assert torch.allclose(prior.predict(clips, steps=2)[0], torch.stack([first[0], second[0]]), atol=1e-6)


@pytest.mark.parametrize(("dx", "dy"), [(1.0, 0.0), (0.0, -2.0), (-1.5, 2.5)])
def test_flow_points_where_things_go(prior, dx, dy):
    for model in (untrained(), prior):
        inner = model.flow(moving(dx, dy))[0, :, 16:-16, 16:-16]
        assert (inner - torch.tensor([dx, dy])[:, None, None]).norm(dim=0).median() < 0.4


def test_flow_is_that_of_the_last_frame(prior):
    clips, flow, hidden = eon.videos.leaves(12, 6, 64, 3, 0, False, flow=True)
    seen = ~hidden[:, 4]
    error = (prior.flow(clips[:, :5]) - flow[:, 4]).norm(dim=1, keepdim=True)[seen].mean()
    assert error < 0.6 * flow[:, 4].norm(dim=1, keepdim=True)[seen].mean()


def test_steps_of_least_squares_find_a_small_shift():
    clip, flow = moving(0.6, -0.4, 3), torch.zeros(1, 2, 64, 64)
    for _ in range(8):
        flow = flow + lucas_kanade(warp(clip[:, 1], flow), warp(clip[:, 0], 2 * flow), flow)
    off = (flow[0, :, 8:-8, 8:-8] - torch.tensor([-0.6, 0.4])[:, None, None]).norm(dim=0)
    seen = (clip[0, 1, 0, 8:-8, 8:-8] - clip[0, 0, 0, 8:-8, 8:-8]).abs()
    assert off[seen > seen.median()].median() < 0.2  # elsewhere it is the neighbours' mean


def test_rest_is_tried_where_the_coarser_level_was_wrong():
    clip, wrong = moving(0.3, -0.2, 3), torch.full((1, 2, 64, 64), 5.0)
    found = refine_flow_from_zero(clip[:, 1], clip[:, 0], wrong, torch.zeros_like(wrong))
    assert found.norm(dim=1).median() < 1, "nearer to rest than to what the coarser level said"
    kept = refine_flow_from_zero(clip[:, 1], clip[:, 0], torch.zeros_like(wrong), torch.zeros_like(wrong))
    assert torch.allclose(found, kept, atol=0.5) or (found - kept).norm(dim=1).median() < 0.1


def test_elimination_solves():
    rng = torch.Generator().manual_seed(0)
    factor, right = torch.randn(2, 7, 5, 5, generator=rng), torch.randn(2, 7, 5, generator=rng)
    matrix = factor @ factor.transpose(-1, -2) + torch.eye(5)
    assert torch.allclose(solve_linear(matrix, right), torch.linalg.solve(matrix, right), atol=1e-4)


@pytest.mark.parametrize("source", ["leaves", "pans"])
def test_flow_is_nearer_to_the_exact_one_than_dis(prior, source):
    films, exact, _ = eon.videos.SOURCES[source](24, 6, 64, 106, train=False, flow=True)
    ours, theirs = (flow(films[:, :5]) - exact[:, 4] for flow in (prior.flow, eon.forward_flow))
    assert ours.norm(dim=1).mean() < theirs.norm(dim=1).mean()


def test_most_of_a_flow_says_how_the_whole_moves():
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    affine = torch.stack([1 + 0.05 * x - 0.02 * y, -0.5 + 0.03 * y])[None].repeat(2, 1, 1, 1)
    disturbed = affine.clone()
    disturbed[:, :, :12, :20] = 5.0  # something else moves there
    assert (dominant_motion(disturbed) - affine).abs().max() < 0.1


def test_flow_is_settled_on_the_last_frame(prior):
    films, exact, _ = eon.videos.leaves(8, 6, 64, 9, train=False, flow=True)
    back = prior.explain(films[:, :5]).levels[-1][0]
    off = [(flow - exact[:, 4]).norm(dim=1).mean() for flow in (-back, prior.flow(films[:, :5]))]
    assert off[1] < 0.95 * off[0], off


def test_warp_reads_at_a_distance():
    frame = torch.rand(1, 3, 16, 16)
    read = warp(frame, torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 16, 16))
    assert torch.allclose(read[..., :-1, :-2], frame[..., 1:, 2:], atol=1e-5)
    assert torch.allclose(read[..., -1, -1], frame[..., -1, -1], atol=1e-5)  # the border goes on


def test_ridge_finds_the_weights_that_made_a_frame():
    guesses = torch.randn(2, 3, 4, 3, 32, 32)
    true, habit = torch.tensor([0.5, -0.2, 0.0, 0.7]), torch.tensor([0.9, 0.05, 0.0, 0.0])
    came = (guesses * true.view(4, 1, 1, 1)).sum(2)
    assert (ridge_weights(guesses, came, habit) - true.view(4, 1, 1)).abs().max() < 0.05
    nothing = ridge_weights(0 * guesses, 0 * came, habit)  # where nothing moved, the habit stays
    assert torch.allclose(nothing, habit.view(4, 1, 1).expand_as(nothing), atol=1e-5)


def test_what_would_have_failed_on_the_past_counts_for_less():
    rng = torch.Generator().manual_seed(0)
    guesses, habit = torch.randn(2, 1, 5, 3, 32, 32, generator=rng), torch.tensor([0.7, 0.05, 0.0, 0.0, 0.2])
    lawful, fickle = (torch.stack([guesses[0, :, 1], sign * guesses[1, :, 1]]) for sign in (1, -1))
    assert (leave_one_out_weights(guesses, lawful, habit) - ridge_weights(guesses, lawful, habit)).abs().max() < 0.05
    fickle[0] *= 3  # once thrice that guess, then its opposite
    assert (leave_one_out_weights(guesses, fickle, habit)[:, 1] < 0.8 * ridge_weights(guesses, fickle, habit)[:, 1]).all()
    assert torch.equal(leave_one_out_weights(guesses[:1], lawful[:1], habit), ridge_weights(guesses[:1], lawful[:1], habit))


def test_maps_are_those_that_feature_info_names(prior):
    for high, wide in ((64, 96), (16, 16)):
        maps = prior.forward_features(torch.rand(2, 5, 3, high, wide))
        assert list(maps) == [info["module"] for info in prior.feature_info]
        for info, part in zip(prior.feature_info, maps.values(), strict=True):
            assert part.shape == (2, info["num_chs"], high // info["reduction"], wide // info["reduction"])


def test_it_can_be_tuned_under_a_head_of_ones_own():
    body = load_prior().requires_grad_(True).train()
    body.forward_features(torch.rand(2, 5, 3, 32, 32))["coarse"].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in body.decoder[1].parameters())
    assert not body.features(torch.rand(2, 5, 3, 32, 32)).requires_grad


@pytest.mark.parametrize(
    "mixture", [{"cats": 1}, {"leaves": "x"}, {"leaves": 0}, {"leaves": -1, "pans": 2}, {"leaves": "nan"}]
)
def test_bad_mixtures_are_named(mixture):
    with pytest.raises(ValueError, match=r"mixture=.*must be weights from 0 on.* of leaves, pans, games, digits"):
        recipes.train_all("prior", mixture=mixture)


def test_untrained_it_is_classical_flow(held_out):
    model = untrained()
    found = model.explain(held_out["leaves"][:, :5])
    assert found.new.abs().max() == 0
    for source in ("leaves", "pans"):
        copied = eon.next_frame_psnr(eon.copy_last, held_out[source])
        assert eon.next_frame_psnr(model, held_out[source]) > copied + 3


@pytest.mark.parametrize(
    "design", [{"candidates": 0}, {"candidates": 1}, {"candidates": 3, "noise": 0.0}, {"context": 2}]
)
def test_designs_run_and_save(tmp_path, design):
    model = untrained(**design)
    clips = torch.rand(2, 5, 3, 32, 32)
    sha = save_prior(model, tmp_path / "own.safetensors")
    assert len(sha) == 64
    assert torch.equal(load_prior(tmp_path / "own.safetensors").predict(clips), model.predict(clips))


def test_a_still_clip_stays_as_it_is(prior):
    clip = eon.videos.pans(4, 1, 64, 3, 0, False).expand(-1, 5, -1, -1, -1)
    assert eon.psnr(prior.predict(clip), clip[:, -1]).min() > 45


def test_weights_are_checked(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no weights none\.safetensors"):
        load_prior(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.safetensors cannot be read as prior"):
        load_prior(tmp_path / "broken.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", {"prior": json.dumps({"model": {}})})
    with pytest.raises(ValueError, match=r"other\.safetensors does not hold the weights"):
        load_prior(tmp_path / "other.safetensors")
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    save_prior(untrained(), tmp_path / "prior.safetensors")
    (tmp_path / "prior.md").write_text("another hash", encoding="utf-8")
    with pytest.raises(ValueError, match="not the file that its model card names"):
        load_prior()


def test_batches_depend_on_the_step_alone():
    pools = {source: prior_training.training_clips(source, 8, 32, 0).numpy() for source in ("leaves", "games")}
    draw = prior_training.batches(pools, {"leaves": 1.0, "games": 1.0}, 0)
    first = [draw(step) for step in range(12)]
    assert all(torch.equal(draw(step), first[step]) for step in (11, 3, 7))
    assert (
        first[0].shape == (8, 5, 3, 32, 32) and 0 <= min(map(torch.min, first)) <= max(map(torch.max, first)) <= 1
    )


def test_training_helps_and_an_interrupted_one_goes_on(tmp_path):
    pools = {"leaves": prior_training.training_clips("leaves", 24, 32, 0).numpy()}
    draw = prior_training.batches(pools, {"leaves": 1.0}, 0)
    whole, average = prior_training.train(untrained(), draw, 24, folder=tmp_path, name="whole")
    assert whole.status == "finished" and all(torch.isfinite(p).all() for p in average.parameters())
    assert not torch.equal(average.heads[1].weight, untrained().heads[1].weight)

    def stop(run, both):
        run.stopping |= run.done == 11

    half, _ = prior_training.train(untrained(), draw, 24, folder=tmp_path, name="half", watch=stop)
    assert half.status == "stopped" and half.done == 12
    again, resumed = prior_training.train(untrained(), draw, 24, folder=tmp_path, name="half", resume=True)
    assert again.status == "finished" and len(again.history.loss) == 24
    for a, b in zip(average.parameters(), resumed.parameters(), strict=True):
        assert torch.isfinite(b).all() and (a - b).abs().max() < 0.1  # noise on the skips differs


def test_the_recipe_makes_weights_and_card(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "RUNS", tmp_path)
    small = {source: 100 for source in prior_training.POOL}
    monkeypatch.setattr(prior_training, "POOL", small)
    recipes.train_all("prior", scale=0.02 / 12, weights=tmp_path)
    card = (tmp_path / "prior.md").read_text(encoding="utf-8")
    assert "| prior |" in card and "leaves 45%" in card
    assert load_prior(tmp_path / "prior.safetensors").predict(torch.rand(1, 2, 3, 16, 16)).shape == (1, 3, 16, 16)


def test_what_ships_came_out_of_the_recipe(prior, repo):
    from safetensors import safe_open

    with safe_open(repo / "data" / "weights" / "prior.safetensors", framework="pt") as saved:
        about = json.loads(saved.metadata()["prior"])
    assert about["steps"] == prior_training.STEPS and about["seed"] == 0
    assert sum(p.numel() for p in prior.parameters()) <= 3_000_000
    assert not any(p.requires_grad for p in prior.parameters()) and not prior.training


def test_it_beats_copying_and_flow_on_clips_never_seen(prior, held_out):
    level = {source: eon.next_frame_psnr(prior, clips) for source, clips in held_out.items()}
    copied = {source: eon.next_frame_psnr(eon.copy_last, clips) for source, clips in held_out.items()}
    flow = {source: eon.next_frame_psnr(eon.flow_extrapolation, clips) for source, clips in held_out.items()}
    assert all(level[s] > copied[s] + 1 for s in level)
    others = [source for source in level if source != "digits"]  # on digits flow is better: see the card
    assert sum(level[s] - flow[s] for s in others) > 3 * 0.3 and level["leaves"] > flow["leaves"] + 0.3
    assert level["digits"] >= 26


def test_thirty_frames_ahead_nothing_blows_up(prior, held_out):
    start = torch.cat([clips[:2, :5] for clips in held_out.values()])
    far = prior.predict(start, steps=30)
    assert far.isfinite().all() and far[:, -1].std() < 1.5 * start[:, -1].std()


@real
@pytest.mark.parametrize("size", [64, 128])
def test_camera_video(prior, size):
    ours, flow, copied = [], [], []
    for file in sorted(REAL.glob("*.mp4")):
        clips = eon.videos.folder(file, 6, size, limit=24)[0]
        made = prior.predict(clips[:, :5])
        ours.append(eon.psnr(made, clips[:, 5]).mean())
        flow.append(eon.psnr(eon.flow_extrapolation(clips[:, :5]), clips[:, 5]).mean())
        copied.append(eon.psnr(clips[:, 4], clips[:, 5]).mean())
        assert ours[-1] > copied[-1] - 0.1, file.name
    gain = (
        torch.stack(ours).mean() - torch.stack(flow).mean(),
        torch.stack(ours).mean() - torch.stack(copied).mean(),
    )
    assert gain[0] > 0.8 and gain[1] > 1.9, gain


def test_the_rivals_are_those_of_the_papers():
    def parameters(model):
        return sum(p.numel() for p in model.parameters())

    assert parameters(rivals.ConvLSTM(1, (128, 64, 64), 5, 4)) == 7_585_296  # Shi et al. 2015, table 1
    assert abs(parameters(rivals.SimVP(10)) / 46.8e6 - 1) < 0.01  # Tan et al. 2022, gSTA on Moving MNIST
    clips = torch.rand(2, 10, 1, 64, 64)
    assert rivals.SimVP(10, space=8, time=16, blocks=3)(clips).shape == clips.shape
    assert rivals.ConvLSTM(1, (8, 8), 5)(clips, 10).shape == clips.shape
    small = copy.deepcopy(rivals.SMALL)
    assert all(0.3e6 < parameters(make()) < 0.8e6 for make in small.values())
