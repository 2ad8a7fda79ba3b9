"""A checkpoint is refused by whoever is no continuation of its training, and by nobody else."""

import json
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from eon_utils import MovingDigits, TrainingRun
from eon_utils.data.clips import Interleaved, Mixture
from eon_utils.training import checkpoint, identity


class Act(nn.Module):
    """A class that is none of torch.nn."""

    def __init__(self, act=torch.tanh):
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(x)


class Other(Act):
    """Another one with the same settings."""


def net(*more):
    return nn.Sequential(nn.Conv2d(3, 3, 1), *(more or (nn.Tanh(),)))


def frozen(model):
    model[0].bias.requires_grad_(False)
    return model


def trained(folder, model=None, steps=4, groups=None, resume=False, seed=0, **options):
    """A run that has done all of its steps."""
    torch.manual_seed(seed)
    model = net() if model is None else model
    parts = groups(model) if groups else model.parameters()
    optimizer = torch.optim.Adam(parts, lr=1e-3)
    options = {"name": "t", "optimizer": optimizer, "folder": folder} | options
    stream = options.pop("stream", torch.linspace(0, 1, 96).view(2, 3, 4, 4))
    run = TrainingRun(model, steps, resume=resume, **options)
    for _step, batch in run.batches(stream):
        run.step(run(batch).square().mean())
    return run


def two_groups(model):
    return [{"params": [model[0].weight]}, {"params": [model[0].bias]}]


def without_bias(model):
    return [model[0].weight]


KINDS = {  # of what differs: of the saved training, of the one that resumes it, what is said
    "a layer more": ({}, {"model": net(nn.Tanh(), nn.Dropout(0.5))}, "without 2=Dropout"),
    "a layer less": ({"model": net(nn.Tanh(), nn.Dropout())}, {}, "with 2=Dropout, which is miss"),
    "a setting": ({"model": net(nn.Dropout(0.5))}, {"model": net(nn.Dropout(0.1))}, "1.p=0.5, not"),
    "own class": ({"model": net(Act())}, {"model": net(Other())}, "with 1=Act, not Other"),
    "function": ({"model": net(Act(F.relu))}, {"model": net(Act(F.gelu))}, "1.act=relu, not gelu"),
    "partial": (
        {"model": net(Act(partial(F.leaky_relu, negative_slope=0.1)))},
        {"model": net(Act(partial(F.leaky_relu, negative_slope=0.2)))},
        r"0\.1.*, not .*0\.2",
    ),
    "a group more": ({}, {"groups": two_groups}, "with parameters=2, not 1"),
    "a group less": ({"groups": two_groups}, {}, "parameters=1, not 2"),
    "left out": ({}, {"groups": without_bias}, "with parameters=2, not 1"),
    "frozen": ({}, {"model": frozen(net())}, "0.bias=float32, in group 0, not float32, frozen"),
    "type": ({}, {"model": net().double()}, "0.weight=float32, in group 0, not float64"),
    "precision": (
        {},
        {"fabric": Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")},
        "precision=32-true, not bf16-mixed",
    ),
    "average": ({}, {"average": 0.9}, "average=None, not 0.9"),
    "loss": ({"facts": {"loss": "huber"}}, {"facts": {"loss": "mse"}}, "loss=huber, not mse"),
    "no loss": ({"facts": {"loss": "huber"}}, {}, "loss=huber, which is missing"),
    "other batch": ({}, {"stream": torch.ones(2, 3, 4, 4)}, r"data=float32 \(2, 3, 4, 4\)"),
    "loader": ({}, {"stream": DataLoader(torch.ones(4, 3, 4, 4), 2)}, r"data=float32 \(2, 3"),
    "facts of data": ({"facts": {"data": "a"}}, {"facts": {"data": "b"}}, "data=a, not b"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_another_training_is_refused_and_its_weights_stay(kind, tmp_path):
    saved, other, said = KINDS[kind]
    trained(tmp_path, **saved)
    before = (tmp_path / "t.safetensors").read_bytes()
    model = other.get("model") or net()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"cannot resume from t.safetensors.*{said}"):
        trained(tmp_path, resume=True, **{**other, "model": model})
    assert (tmp_path / "t.safetensors").read_bytes() == before
    if kind not in ("other batch", "loader"):  # told when they are there
        same = [torch.equal(weights[key], value) for key, value in model.state_dict().items()]
        assert all(same)


class Squares(Dataset):
    """A data set that says nothing of itself."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return torch.full((3, 4, 4), index / self.count)


def pictures(value):
    return TensorDataset(torch.full((8, 3, 4, 4), value))


def digits(seed=0, draws=100, count=3):
    return Mixture([MovingDigits(count, frames=5, size=16)], draws, seed)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DataLoader(Squares(8), 2), DataLoader(Squares(6), 2)),
        (DataLoader(Squares(8), 2), DataLoader(Squares(8), 4)),
        (DataLoader(Squares(8), 2), DataLoader(Squares(8), 2, shuffle=True)),
        (DataLoader(pictures(0.1), 2), DataLoader(pictures(0.2), 2)),
        (DataLoader(torch.zeros(8, 3), 2), DataLoader(torch.ones(8, 3), 2)),
        (DataLoader(digits(), 2), DataLoader(digits(seed=1), 2)),
        (DataLoader(digits(), 2), DataLoader(digits(count=4), 2)),
        (
            DataLoader(Interleaved(digits(), digits(), 2, 3), 2),
            DataLoader(Interleaved(digits(), digits(), 2, 4), 2),
        ),
        (
            DataLoader(Squares(8), batch_sampler=[[0, 1], [2]]),
            DataLoader(Squares(8), batch_sampler=[[0, 2], [1]]),
        ),
        (
            DataLoader(Squares(8), 2, shuffle=True, generator=torch.Generator().manual_seed(1)),
            DataLoader(Squares(8), 2, shuffle=True, generator=torch.Generator().manual_seed(2)),
        ),
    ],
)
def test_loaders_are_told_apart(one, other):
    assert identity.first_difference(identity.of_stream(one), identity.of_stream(other))
    assert not identity.first_difference(identity.of_stream(one), identity.of_stream(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DataLoader(digits(draws=20), 2), DataLoader(digits(draws=40), 2)),  # more steps
        (DataLoader(Squares(8), 2), DataLoader(Squares(8), 2, num_workers=2)),
        (
            DataLoader(Squares(8), batch_sampler=[[0, 1]]),
            DataLoader(Squares(8), batch_sampler=[torch.tensor([0, 1]), torch.tensor([2])]),
        ),
    ],
)
def test_what_makes_no_other_batches_does_not_count(one, other):
    assert not identity.first_difference(identity.of_stream(one), identity.of_stream(other))


def test_processes_that_share_a_batch_are_no_other_training():
    alone = identity.of_stream(DataLoader(Squares(8), 4))
    assert alone == identity.of_stream(DataLoader(Squares(8), 2), processes=2)


def test_another_seed_is_worth_a_warning(tmp_path):
    first = trained(tmp_path)
    with pytest.warns(UserWarning, match=r"t: it was trained with seed=0, not 1; it goes on"):
        again = trained(tmp_path, seed=1, steps=6, resume=True)
    assert again.done == 6 and again.history.loss[:4] == first.history.loss


def test_who_sets_no_seed_may_resume_what_was_seeded(tmp_path):
    trained(tmp_path)
    state = torch.random.get_rng_state()
    try:
        torch.random.set_rng_state(torch.Generator().get_state())  # as in a new process
        run = TrainingRun(net(), 4, name="t", optimizer=None, lr=1e-3, folder=tmp_path, resume=True)
    finally:
        torch.random.set_rng_state(state)
    assert run.done == 4


def test_facts_must_be_plain(tmp_path):
    with pytest.raises(ValueError, match="facts: loss must be a number or a text, not <object"):
        trained(tmp_path, facts={"loss": object()})


# --- the length of a training ---


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"steps": 8, "cooldown": 0.25}, {"steps": 16}),  # the rate fell to 0, and would rise
        ({"steps": 8, "cooldown": 0.5, "stop": 7}, {"steps": 9}),
        ({"steps": 16, "cooldown": 0.25, "stop": 8}, {"steps": 9}),  # it would have fallen
        ({"steps": 10**6, "cooldown": 0.5, "seconds": 0.2}, {"steps": 10**6, "seconds": 9.0}),
    ],
)
def test_a_cool_down_is_not_taken_back(tmp_path, first, then):
    stop = first.pop("stop", None)
    run_of_length(tmp_path, stop=stop, **first)
    with pytest.raises(ValueError, match=r"it was trained with steps=.*, not steps=.*cool-down"):
        run_of_length(tmp_path, resume=True, **{**first, **then})


@pytest.mark.parametrize("steps", [8, 16, 100])
def test_before_the_cool_down_the_length_may_change(tmp_path, steps):
    run_of_length(tmp_path, steps=16, cooldown=0.25, stop=4)
    assert run_of_length(tmp_path, steps=steps, cooldown=0.25, resume=True).done == steps


def run_of_length(folder, stop=None, **options):
    torch.manual_seed(0)
    run = TrainingRun(net(), name="t", folder=folder, **options)
    for step, batch in run.batches(torch.ones(1, 3, 2, 2)):
        run.step(run(batch).square().mean())
        run.stopping = step + 1 == stop
    return run


# --- damage ---


def spoil(path, keys=(), **facts):
    """Rewrite a checkpoint without some tensors, or with other facts (None: without one)."""
    told, tensors = checkpoint.read(path)
    told |= facts
    kept = {key: value for key, value in tensors.items() if not key.startswith(tuple(keys))}
    save_file(kept, path, {key: value for key, value in told.items() if value is not None})


@pytest.mark.parametrize(
    ("keys", "facts", "said"),
    [
        (("random.",), {}, "it has .* of .* tensors"),
        (("history.",), {}, "it has .* of .* tensors"),
        (("optimizer.",), {}, "it has .* of .* tensors"),
        (("model.0.weight",), {}, "it has .* of .* tensors"),
        ((), {"identity": "{"}, "Expecting"),
        ((), {"identity": "{}"}, "optimizer"),
        ((), {"identity": None}, "it does not say its identity"),
        ((), {"measures": "no JSON"}, "Expecting"),
        ((), {"step": "many"}, "many"),
        ((), {"step": None}, "it does not say its step"),
        ((), {"length": "[]"}, "unpack|argument"),
        ((), {"tensors": None}, "an earlier version of the course wrote it"),
    ],
)
def test_a_checkpoint_that_lacks_parts_is_refused_before_weights_are_replaced(
    tmp_path, keys, facts, said
):
    trained(tmp_path)
    spoil(tmp_path / "t.safetensors", keys, **facts)
    torch.manual_seed(0)
    model = net()
    before = model[0].weight.clone()
    with pytest.raises(ValueError, match=rf"cannot resume from t.safetensors.*({said})"):
        trained(tmp_path, model, resume=True)
    assert torch.equal(model[0].weight, before)


def test_other_work_is_kept_beside_a_new_training(tmp_path):
    trained(tmp_path)
    before = (tmp_path / "t.safetensors").read_bytes()
    trained(tmp_path, net(nn.ReLU()))
    assert (tmp_path / "t.previous.safetensors").read_bytes() == before
    facts, _ = checkpoint.read(tmp_path / "t.safetensors")
    assert json.loads(facts["identity"])["model"]["1"] == "ReLU"
