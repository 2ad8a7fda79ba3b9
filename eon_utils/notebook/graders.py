"""Exercises whose answers are code are judged by what the code does, whatever its names.

A grader takes the reader's answer, and what the notebook gives beside it. It returns `RIGHT`, or a
hint that fits what is wrong, or `UNTOUCHED` where nothing was written yet. What the reader's code
raises it lets through. `trials` draws the same answers, from the same arguments.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from eon_utils.evaluation.metrics import psnr
from eon_utils.models.conv_autoencoder import ConvAutoencoder
from eon_utils.models.pca_autoencoder import Autoencoder, LocalPCA, patchify

Verdict = str | None
RIGHT = ""
UNTOUCHED = None

EXACT = 80.0  # dB: what is written down from a decomposition, and not trained, reaches more
BASES_ENOUGH = 4  # a random choice meets at least one in so many of the bases that it could
SAME = 1e-3  # distance of two clips that are the same
LITTLE = 0.05  # dB that a better code gains at least
DESCENT_STEPS = 40
FADED = 0.5  # dB that motion buys over fading at least
NEAR = 2.0  # dB below four frames that still count as near
ALARM = 0.95  # ROC-AUC of an alarm that works
TURNED_ROUND = 0.1  # ROC-AUC of an alarm that works with its sign changed, at most
BATCH = 12  # clips of a batch of notebook 04


# --- 01 ---


@torch.no_grad()
def perfect_autoencoder(model: nn.Module, start: nn.Module, pictures: Tensor) -> Verdict:
    """An autoencoder whose weights were written down.

    Args:
        model: `encoder` and `decoder` are linear layers.
        start: the same as it was built.
        pictures: that it shall reproduce, (N, 3, H, W).
    """
    if all(map(torch.equal, model.parameters(), start.parameters())):
        return UNTOUCHED
    if _worst(model, pictures) > EXACT:
        return RIGHT
    fixed: Any = copy.deepcopy(model)
    for layer in (fixed.encoder, fixed.decoder):
        nn.init.zeros_(layer.bias)
    if _worst(fixed, pictures) > EXACT:
        return "The weights are right. The biases still hold their random start."
    fixed.encoder.weight[len(pictures) :] = 0
    if _worst(fixed, pictures) > EXACT:
        return "The units that you do not need still hold their random start."
    fixed.decoder.weight.copy_(fixed.encoder.weight.T)
    if _worst(fixed, pictures) > EXACT:
        return "The encoder is right. Which matrix leads back from its code?"
    return "Of what did you take the decomposition? The encoder sees pictures less 0.5."


def _worst(model: nn.Module, pictures: Tensor) -> float:
    return psnr(model(pictures), pictures).min().item()


# --- 02 ---


def xavier_start(restart: Callable[[Any], object], pictures: Tensor, steps: int) -> Verdict:
    """A function that gives a convolutional autoencoder another start, in place.

    Args:
        restart: changes a `ConvAutoencoder`.
        pictures: on whose device it is, (N, 3, H, W).
        steps: for the trial.
    """
    model: Any = ConvAutoencoder().to(pictures.device)
    before = copy.deepcopy(model)
    restart(model)
    layers = [*model.encoder, *model.decoder]
    old = [*before.encoder, *before.decoder]
    pairs = [*zip(layers, old, strict=True)]
    new = [not torch.equal(layer.weight, other.weight) for layer, other in pairs]
    if not any(new):
        same = all(torch.equal(layer.bias, other.bias) for layer, other in pairs)
        return UNTOUCHED if same else "The biases changed, the weights did not."
    if not all(new):
        return f"{sum(new)} of {len(new)} layers changed. Encoder and decoder have four each."
    for layer in layers:
        inputs, outputs, *window = layer.weight.shape
        fan = (inputs + outputs) * window[0] * window[1]
        spread = layer.weight.std().item() / (2 / fan) ** 0.5
        if not 0.8 < spread < 1.25:  # of some hundred weights it is not exact
            return f"The weights of a layer spread {spread:.1f} times as widely as Xavier's."
    if any(layer.bias.any() for layer in layers):
        return "The weights are right. The biases are to be zero."
    return RIGHT


@torch.no_grad()
def skips_cut_by_turns(
    forward: Callable[[Any, Tensor, int], Tensor],
    models: Mapping[str, Any],
    pictures: Tensor,
    steps: int,
) -> Verdict:
    """A forward pass, of model, batch and step, that cuts all skips in every second step.

    Args:
        forward: model, batch and step -> output.
        models: "V3" is tried, without noise.
        pictures: (N, 3, H, W).
        steps: for the trial.
    """
    model = models["V3"]
    outputs = [forward(model, pictures, step) for step in range(4)]
    if all(output is None for output in outputs):
        return UNTOUCHED
    code, skips = model.encode(pictures)
    silenced = code.mean(0, keepdim=True).expand_as(code)
    known = {
        "whole": model.decode(code, skips),
        "cut": model.decode(code, [torch.zeros_like(skip) for skip in skips]),
        "silenced": model.decode(silenced, skips),
    }
    kinds = [_kind(output, known) for output in outputs]
    first, second, *_ = kinds
    if {first, second} == {"whole", "cut"} and kinds == [first, second] * 2:
        return RIGHT
    if set(kinds) == {"whole"}:
        return "No step cuts anything yet."
    if set(kinds) == {"cut"}:
        return "Every step cuts the skips: that is V2. Cut them in every second step."
    if "silenced" in kinds:
        return "You silenced the code. It is the skips that are to be cut."
    if "other" in kinds:
        return "A step with skips is model(batch). In one without them all skips are zero."
    return "Some steps cut the skips, but not every second one: what is left of step / 2?"


def _kind(output: Tensor, known: Mapping[str, Tensor]) -> str:
    for kind, expected in known.items():
        if output.shape == expected.shape and torch.allclose(output, expected, atol=1e-5):
            return kind
    return "other"


# --- 03 ---


@torch.no_grad()
def random_bases(
    choose: Callable[[LocalPCA, Tensor], Tensor], model: Autoencoder, pictures: Tensor
) -> Verdict:
    """A basis for each cell, drawn at random.

    Args:
        choose: local PCAs and cells (n, 192) -> choices as in a code, (n,).
        model: whose local PCAs they are.
        pictures: to encode, (N, 3, H, W).
    """
    cells = patchify(pictures - 0.5)
    choice = choose(model.local_pca, cells)
    if choice is None:
        return UNTOUCHED
    if choice.shape != (len(cells),):
        return f"One choice a cell are {(len(cells),)}, yours {tuple(choice.shape)}."
    choice = choice.to(cells)
    count = len(model.local_pca.bases)
    choices = len(model.local_pca.order) * count
    if (choice != choice.round()).any() or choice.min() < 0 or choice.max() >= choices:
        return f"A choice is a whole number from 0 to {choices - 1}."
    best = model.local_pca.choose(cells, model.channels - 1)
    if (choice == best).float().mean() > 0.5:
        return "Most cells still have the basis that fits best."
    if len(choice.unique()) < min(len(cells), choices) / BASES_ENOUGH:
        return "Let each cell draw for itself."
    if choice.max() < count:
        return "That draws one of the bases. In which of its eight orientations?"
    return RIGHT


def code_error(
    error: Callable[[Autoencoder, Tensor, Tensor, Tensor], Tensor],
    model: Autoencoder,
    photo: Tensor,
) -> Verdict:
    """An error that a better code of a photograph makes smaller.

    Args:
        error: model, choice (1, 1, h, w), other numbers of the code (1, k - 1, h, w) and photograph
            -> a scalar.
        model: without skips.
        photo: (1, 3, H, W).
    """
    choice, numbers = split_code(model, photo)
    first = error(model, choice, numbers.requires_grad_(), photo)
    if first is None:
        return UNTOUCHED
    if first.numel() != 1:
        return f"An error is one number, yours are {first.numel()}: take their mean."
    if not first.requires_grad:
        return "Your error does not depend on the numbers, or their gradient was cut off."
    levels = descend(error, model, photo)
    gained = levels[-1] - levels[0]
    if gained > LITTLE:
        return RIGHT
    if gained < -LITTLE:
        return f"The photograph gets {-gained:.2f} dB worse. Is your error large when it is wrong?"
    return f"It gains {gained:.2f} dB only. Is the refinement, a part of decode, in your error?"


def descend(
    error: Callable[[Autoencoder, Tensor, Tensor, Tensor], Tensor],
    model: Autoencoder,
    photo: Tensor,
) -> list[float]:
    """PSNR in dB of a photograph while the numbers of its code go down the error."""
    choice, numbers = split_code(model, photo)
    numbers.requires_grad_()
    optimizer = torch.optim.Adam([numbers], lr=5e-3)
    levels = []
    for _ in range(DESCENT_STEPS):
        loss = error(model, choice, numbers, photo)
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            code = torch.cat([choice, numbers], 1)
            levels.append(psnr(model.decode(code), photo).item())
        optimizer.step()
    return levels


def split_code(model: Autoencoder, photo: Tensor) -> tuple[Tensor, Tensor]:
    """The choice and the coefficients of a photograph's code."""
    code = model.encode(photo)
    assert isinstance(code, Tensor)  # without skips
    choice, numbers = code.split([1, code.shape[1] - 1], 1)
    return choice, numbers.clone()


# --- 04 ---


def fewest_frames(fewest: int | None, gains: Mapping[int, float]) -> Verdict:
    """The smallest number of frames whose gain in dB is near that of four."""
    counts = (1, 2, 3, 4)
    if fewest is None and not gains:
        return UNTOUCHED
    if not isinstance(gains, Mapping) or sorted(gains) != [*counts]:
        return "Measure with 1, 2, 3 and 4 frames first."
    if fewest is None:
        return "Now read the smallest number off the figure."
    if fewest not in counts:
        return "Give one of the numbers of frames that you measured."
    smallest = min(count for count in counts if gains[count] > gains[4] - NEAR)
    if fewest > smallest:
        return "Fewer will do. Read the figure from the left, not from what motion should need."
    if fewest < smallest:
        return "That is more than 2 dB below four frames."
    return RIGHT


def new_leaves(draw: Callable[[int], Tensor], held_out: Tensor, steps: int) -> Verdict:
    """Batches of clips that never come twice.

    Args:
        draw: step -> clips, (12, 5, 3, H, W).
        held_out: clips to judge by, (N, 5, 3, H, W).
        steps: for the trial.
    """
    first = draw(0)
    if first is None:
        return UNTOUCHED
    wanted = (BATCH, *held_out.shape[1:])
    if first.shape != wanted:
        return f"A batch is {wanted}, yours {tuple(first.shape)}."
    if not torch.equal(first, draw(0)):
        return "The same step has to give the same clips, or nobody can repeat your result."
    second = draw(1)
    if torch.equal(first, second):
        return "Steps 0 and 1 draw the same clips: from which clip on does a step draw?"
    if any(_shared(one, other) for one, other in ((first, second), (second, draw(2)))):
        return "Some clips come twice: a step draws twelve, so by how many must the start move on?"
    if _shared(first, held_out):
        return "These are clips to judge by. Train on others."
    return RIGHT


def _shared(clips: Tensor, others: Tensor) -> bool:
    distances = torch.cdist(clips.flatten(1), others.to(clips).flatten(1))
    return bool(distances.min() < SAME)


# --- 05 ---


@torch.no_grad()
def slow_motion(slow: Callable[[Tensor], Tensor], films: Tensor) -> Verdict:
    """The fifth and the sixth frame of films, made of the fourth and the seventh alone."""
    made = slow(films)
    if made is None:
        return UNTOUCHED
    true = films[:, 4:6]
    if made.shape != true.shape:
        return f"Two frames a film are {tuple(true.shape)}, yours {tuple(made.shape)}."
    hidden = torch.zeros_like(films)
    hidden[:, [3, 6]] = films[:, [3, 6]]
    if not torch.allclose(slow(hidden), made, atol=1e-3):
        return "Look at the fourth and the seventh frame alone."
    if torch.allclose(made[:, 0], made[:, 1]):
        return "Both frames are the same. The fifth is nearer to the fourth than the sixth is."
    level = _mean_psnr(made, true)
    if _mean_psnr(made.flip(1), true) > level:
        return "Your two frames are in the wrong order."
    first, last = films[:, 3], films[:, 6]
    faded = torch.stack([(2 * first + last) / 3, (first + 2 * last) / 3], 1)
    if not level > _mean_psnr(faded, true) + FADED:
        return "No better than fading from the first to the last. At what times were they taken?"
    return RIGHT


def _mean_psnr(frames: Tensor, true: Tensor) -> float:
    return psnr(frames.flatten(0, 1), true.flatten(0, 1)).mean().item()


# --- 06 ---

PART_HINTS = {
    "how it moves": "To tell the moves apart, what has to be known of a clip?",
    "which game": "In a game cars go down, ships sideways. What is the same in all its clips?",
    "which digit": "Does a seven move otherwise than a two?",
}


def best_parts(
    winners: Mapping[str, str | None], right_from: Callable[[str, slice], float], looks: slice
) -> Verdict:
    """For each question the part of the features that gives more right answers.

    Args:
        winners: question -> part.
        right_from: question and part of `features` -> right answers in percent.
        looks: the part that says how it looks; how it moves is what comes before.
    """
    if not isinstance(winners, Mapping) or set(winners) != set(PART_HINTS):
        return f"Name a part for each question: {', '.join(PART_HINTS)}."
    if not any(winners.values()):
        return UNTOUCHED
    for question, part in winners.items():
        if part not in ("moves", "looks"):
            return f'For "{question}" write "moves" or "looks".'
    for question, by_part in right_by_part(right_from, looks).items():
        if by_part[str(winners[question])] < max(by_part.values()):
            return f"{question}: {PART_HINTS[question]}"
    return RIGHT


def right_by_part(right_from: Any, looks: slice) -> dict[str, dict[str, float]]:  # noqa: ANN401
    """Question -> part -> right answers in percent; kept with the function, as it takes seconds."""
    if not hasattr(right_from, "measured"):
        parts = {"moves": slice(looks.start), "looks": looks}
        right_from.measured = {
            question: {name: float(right_from(question, part)) for name, part in parts.items()}
            for question in PART_HINTS
        }
    return right_from.measured


@torch.no_grad()
def change_alarm(
    alarm: Callable[[Tensor], Sequence[float] | Tensor], events: Mapping[str, Mapping[str, Tensor]]
) -> Verdict:
    """One alarm for a last frame that is of another film, and for one that is the one before.

    Args:
        alarm: clips (N, T, 3, H, W) -> a number for each, larger where it is more sure.
        events: source -> event -> clips.
    """
    detected: dict[str, list[float]] = {"scene cut": [], "frozen": []}
    for clips in events.values():
        calm = alarm(clips["nothing"])
        if calm is None:
            return UNTOUCHED
        calm = torch.as_tensor(calm).float()
        count = len(clips["nothing"])
        if calm.shape != (count,):
            return f"Give one number a clip: {count} for {count} clips, not {tuple(calm.shape)}."
        for event, values in detected.items():
            found = torch.as_tensor(alarm(clips[event])).float()
            values.append(_roc_auc(calm, found))
    cut, frozen = (sum(values) / len(values) for values in detected.values())
    if min(min(values) for values in detected.values()) > ALARM:
        return RIGHT
    if max(cut, frozen) < TURNED_ROUND:
        return "It rings when all is well: change its sign."
    if cut > ALARM:
        return "It hears cuts and not frozen frames, where the change is too small, not too large."
    if frozen > ALARM:
        return "It hears frozen frames and not cuts, where the change is too large, not too small."
    right = f"{100 * cut:.0f} % of the cuts and {100 * frozen:.0f} % of the frozen frames"
    return f"It tells {right} from calm clips. What is usual in a clip its earlier frames say."


def _roc_auc(calm: Tensor, event: Tensor) -> float:
    """The share of pairs in which the event has the larger value; half of those with equal ones."""
    larger = event[:, None] > calm
    equal = event[:, None] == calm
    return (larger.float() + 0.5 * equal.float()).mean().item()
