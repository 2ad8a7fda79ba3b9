"""Exercises: their answers stand nowhere, mistakes get the hint that fits, progress is kept.

`.venv/bin/python tests/notebook/test_exercises.py` renews the hashes in `exercises.json` after an
answer in a notebook's solution cell, or a usual mistake below, has changed.
"""

import ast
import json
import re
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

import eon_utils as eon
from eon_utils.course import publish, runner
from eon_utils.notebook import exercises, graders
from eon_utils.notebook.exercises import TRIED

REPO = Path(__file__).resolve().parents[2]
EVERY = json.loads(exercises.TABLE.read_text(encoding="utf-8"))
BY_HASH = [name for name in EVERY if name not in TRIED]

# exercise -> usual mistake -> the answers that show it
MISTAKES = {
    "00-1": {"the other": ["colours"]},
    "01-1": {"mean forgotten": [5], "one too few": [3], "of three": [2], "the notebook's": [10]},
    "01-2": {
        "turned round": [1.5e-5],
        "one side": [1.2e-7],  # and the square root
        "channels": [8e-9, 7.2e-8],
        "unchanged": [6e-7],
    },
    "02-1": {
        "turned round": [1 / 12],
        "channels forgotten": [4],
        "places": [768, 256],
        "one side": [16],
        "V1's": [1.5],
        "channels": [64],
    },
    "03-1": {
        "orientations forgotten": [7],
        "not bits": [1024],
        "decimal logarithm": [3.01, 2.1],
        "natural logarithm": [6.93, 4.85],
        "bytes": [1.25],
    },
    "04-1": {
        "amplitude": [10],
        "turned round": [0.01],
        "decibels": [20],
        "bels": [2],
        "natural logarithm": [7.39],
    },
    "05-1": {
        "sign": [-6],
        "one step": [3, -3],
        "turned round": [1.5, -1.5],
        "from the last frame": [9],
    },
    "05-2": {"all": [5], "too few": [3], "motion": [2], "one": [1]},
    "06-1": {
        "share": [1 / 13],
        "the others'": [10],
        "moves": [13],
        "rounded": [8, 7, 7.6],
        "two classes": [50],
    },
}
NONSENSE = ["rubbish", [1, 2], [], float("nan"), float("inf"), torch.zeros(2), {}, object(), True]


def notebook(lesson):
    (path,) = (REPO / "notebooks").glob(f"{lesson}_*.ipynb")
    return nbformat.read(path, as_version=4)


def is_solution(cell):
    return "solution" in cell.metadata.get("tags", [])


def is_stub(cell):
    return cell.cell_type == "code" and "eon.check(" in cell.source and not is_solution(cell)


def right_answers():
    """Exercise -> its answer, as the solution cells of the notebooks assign it."""
    answers = {}
    for lesson in exercises._lessons():
        for cell in filter(is_solution, notebook(lesson).cells):
            values = {}
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    values[node.targets[0].id] = node.value
                elif isinstance(node, ast.Call) and ast.unparse(node.func) == "eon.check":
                    name = ast.literal_eval(node.args[0])
                    if name in BY_HASH:
                        value = ast.Expression(values[node.args[1].id])
                        code = compile(ast.fix_missing_locations(value), name, "eval")
                        answers[name] = eval(code, {"__builtins__": {}})
    return answers


def renewed():
    """The table with the hashes that it should hold."""
    table = json.loads(exercises.TABLE.read_text(encoding="utf-8"))
    for name, answer in right_answers().items():
        table[name]["answer"] = exercises.answer_hash(name, answer)
        for mistake, answers in MISTAKES[name].items():
            hashes = [exercises.answer_hash(name, one) for one in answers]
            table[name]["usual mistakes"][mistake]["hashes"] = hashes
    return table


# --- the notebooks' cells ---


def test_the_hashes_are_those_of_the_solutions_and_of_the_usual_mistakes():
    assert set(right_answers()) == set(BY_HASH) == set(MISTAKES)
    assert renewed() == EVERY, "run: .venv/bin/python tests/notebook/test_exercises.py"
    for texts in EVERY.values():
        hashes = [one for mistake in texts.get("usual mistakes", {}).values()
                  for one in mistake["hashes"]]  # fmt: skip
        assert len({*hashes, texts.get("answer")}) == len(hashes) + 1, "two answers look the same"


@pytest.mark.parametrize("lesson", ["01", "02", "03", "04", "05", "06"])
def test_a_lesson_has_three_graded_exercises_one_an_experiment(lesson):
    nb = notebook(lesson)
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    text = text.partition("## Exercises")[2].partition("\n## ")[0]
    grades = re.findall(r"^\*\*(\d) \((easy|medium|hard)", text, re.M)
    assert grades == [("1", "easy"), ("2", "medium"), ("3", "hard")]
    assert "an experiment" in text and "<summary>Expected" in text and "<summary>Hint" in text
    names = [f"{lesson}-{number}" for number in (1, 2, 3)]
    stubs = "\n".join(cell.source for cell in nb.cells if is_stub(cell))
    solutions = "\n".join(cell.source for cell in nb.cells if is_solution(cell))
    for source in (stubs, solutions):
        assert re.findall(r'eon\.check\("([\d-]+)"', source) == names
    assert solutions.count("solution=True") == 3 and "solution=" not in stubs


def paragraph(lesson, number):
    """What an exercise asks, without the hints."""
    text = "\n".join(cell.source for cell in notebook(lesson).cells)
    text = text.partition("## Exercises")[2]
    found = re.search(rf"^\*\*{number} \(.*$", text, re.M)
    return found[0] if found else ""


def test_answers_stand_neither_beside_the_stubs_nor_in_the_texts():
    for name, answer in right_answers().items():
        lesson, _, number = name.partition("-")
        if lesson == "00":
            continue  # the stub offers both words
        texts = [cell.source for cell in notebook(lesson).cells if is_stub(cell)]
        texts = [text for text in texts if f'"{name}"' in text] + [paragraph(lesson, number)]
        texts += [str(value) for value in EVERY[name].values() if isinstance(value, str)]
        said = set(re.findall(r"(?<![\w.])\d[\d.,e-]*\d|(?<![\w.-])\d", " ".join(texts)))
        values = {float(word.replace(",", "")) for word in said if is_number(word)}
        assert f"{answer:.1e}" not in {f"{value:.1e}" for value in values}, name


def is_number(word):
    try:
        return bool(float(word.replace(",", "")))
    except ValueError:
        return False


def test_student_copies_hold_no_solution_and_no_output(tmp_path):
    publish.make_student(tmp_path / "student", REPO)
    assert not (tmp_path / "student" / "teaching_notes.md").exists()
    for lesson in exercises._lessons():
        (path,) = (tmp_path / "student").glob(f"{lesson}_*.ipynb")
        text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
        assert "solution=True" not in text and '"outputs": [\n' not in path.read_text("utf-8")
        stubs = "\n".join(cell.source for cell in notebook(lesson).cells if not is_solution(cell))
        solutions = "\n".join(cell.source for cell in notebook(lesson).cells if is_solution(cell))
        own = [line for line in solutions.splitlines() if line not in stubs.splitlines()]
        assert own and not [line for line in own if line.strip() and line in text.splitlines()]


# --- numbers and words ---


@pytest.fixture
def answered(tmp_path, monkeypatch, capsys):
    """Answers an exercise, and returns what was printed; progress is kept in a file of the test."""
    monkeypatch.setenv("EON_PROGRESS", str(tmp_path / "progress.json"))

    def answer(*args, **given):
        eon.check(*args, **given)
        return capsys.readouterr().out

    return answer


@pytest.mark.parametrize("name", BY_HASH)
def test_right_usual_wrong_and_no_answers(name, answered):
    right = right_answers()[name]
    texts = EVERY[name]
    for untouched in (None, ""):
        assert answered(name, untouched) == f"{texts['to do']}\n"
    assert answered(name, right).startswith("Right.\n")
    given = [right.upper(), f" {right} "] if isinstance(right, str) else [np.float64(right)]
    given += [] if isinstance(right, str) else [torch.tensor(right), f"{right}", right * 1.000001]
    for same in given:
        assert answered(name, same).startswith("Right.\n"), same
    for mistake, answers in MISTAKES[name].items():
        for wrong in answers:
            hint = texts["usual mistakes"][mistake]["hint"]
            assert answered(name, wrong).startswith(f"Not yet. {hint}\n"), wrong
    for wrong in NONSENSE:
        assert answered(name, wrong).startswith("Not yet. "), wrong
    assert answered(name, 1.234e9).startswith(f"Not yet. {texts['hint']}\n")


def test_an_unknown_exercise_is_named():
    with pytest.raises(ValueError, match="exercise='07-1' is unknown"):
        eon.check("07-1", 3)


# --- progress ---


def test_what_is_solved_is_remembered_and_shown(answered, tmp_path, shown):
    assert answered("01-1", 5).endswith("01: 0 of 3 solved\n")
    assert not (tmp_path / "progress.json").exists()
    assert answered("01-1", right_answers()["01-1"]) == "Right.\n01: 1 of 3 solved\n"
    assert answered("01-1", 5).endswith("01: 1 of 3 solved\n")  # it stays solved
    assert json.loads((tmp_path / "progress.json").read_text()) == {"solved": ["01-1"]}
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    eon.progress()
    assert re.search(r"^01 +1 of 3 +1 +2, 3$", shown[0][0]["text/plain"], re.M)
    eon.course_map()
    assert "<td>1 of 3</td>" in shown[1][0]["text/html"]


def test_solutions_never_count(answered, tmp_path):
    for name, answer in right_answers().items():
        assert answered(name, answer, solution=True) == "Right.\n"
    assert not list(tmp_path.iterdir())


def test_runs_from_a_terminal_show_and_keep_none(answered, tmp_path, monkeypatch):
    (tmp_path / "progress.json").write_text('{"solved": ["01-1"]}')
    monkeypatch.setenv("JUPYTER_PATH", "")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    runner.use_own_kernel()
    assert answered("01-2", right_answers()["01-2"]) == "Right.\n"
    assert exercises.count_solved("01") == "0 of 3"
    assert (tmp_path / "progress.json").read_text() == '{"solved": ["01-1"]}'


@pytest.mark.parametrize("damaged", ["", "[]", '{"solved": 3}', '{"solved": [[1]]}', "\x00"])
def test_a_damaged_file_is_begun_anew(damaged, answered, tmp_path):
    (tmp_path / "progress.json").write_text(damaged)
    assert exercises.count_solved("01") == "0 of 3"
    assert answered("01-1", right_answers()["01-1"]).endswith("01: 1 of 3 solved\n")
    assert json.loads((tmp_path / "progress.json").read_text()) == {"solved": ["01-1"]}


def test_a_folder_that_cant_be_written_to_gets_one_sentence(answered, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EON_PROGRESS", str(tmp_path / "file" / "progress.json"))
    said = answered("01-1", right_answers()["01-1"])
    assert re.fullmatch(r"Right\.\nProgress is not remembered, because .+ can't be .+\.\n", said)


def test_progress_may_be_at_home(answered, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("EON_PROGRESS", "~/kept/progress.json")
    answered("01-1", right_answers()["01-1"])
    assert (tmp_path / "kept" / "progress.json").is_file()


def test_progress_is_beside_the_notebooks_and_never_committed(monkeypatch, tmp_path):
    monkeypatch.delenv("EON_PROGRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    exercises._report("01-1", True)
    assert (tmp_path / "progress.json").is_file()
    assert "progress.json" in (REPO / ".gitignore").read_text().splitlines()


# --- code ---


def test_every_code_exercise_has_a_grader_that_is_given_what_it_takes():
    assert set(TRIED) < set(EVERY)


def test_weights_written_down(answered):
    pictures = torch.rand(3, 3, 8, 8)

    class Dense(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.shape = pictures.shape[1:]
            self.encoder = torch.nn.Linear(192, 5)
            self.decoder = torch.nn.Linear(5, 192)

        def forward(self, images):
            code = self.encoder((images - 0.5).flatten(1))
            return self.decoder(code).unflatten(1, self.shape) + 0.5

    vh = torch.linalg.svd((pictures - 0.5).flatten(1).double(), full_matrices=False)[2].float()

    @torch.no_grad()
    def written(biases=True, others=True, back=True, of=vh):
        model = Dense()
        for layer in (model.encoder, model.decoder):
            layer.bias.mul_(0 if biases else 1)
            layer.weight.mul_(0 if others else 1)
        model.encoder.weight[:3] = of
        if back:
            model.decoder.weight[:, :3] = of.T
        return model

    def judge(model):
        return graders.perfect_autoencoder(model, Dense(), pictures)

    assert judge(Dense()) is None and judge(written()) == ""
    assert "biases" in judge(written(biases=False))
    assert "units that you do not need" in judge(written(others=False))
    assert "leads back" in judge(written(back=False))
    plain = torch.linalg.svd(pictures.flatten(1), full_matrices=False)[2]
    assert "less 0.5" in judge(written(of=plain))
    for wrong in NONSENSE:
        said = answered("01-3", wrong, start=Dense(), pictures=pictures)
        assert said.startswith("Not yet. Your code raised"), wrong
    assert "\nRight.\n" in answered("01-3", written(), start=Dense(), pictures=pictures)


def start(draw, zero=True, count=8):
    def restart(model):
        for layer in [*model.encoder, *model.decoder][:count]:
            draw(layer.weight)
            if zero:
                torch.nn.init.zeros_(layer.bias)

    return restart


@pytest.mark.parametrize(
    ("restart", "says"),
    [
        (lambda model: None, None),
        (start(torch.nn.init.xavier_uniform_), ""),
        (start(torch.nn.init.xavier_normal_), ""),
        (start(torch.nn.init.xavier_uniform_, zero=False), "biases are to be zero"),
        (start(torch.nn.init.xavier_uniform_, count=4), "4 of 8 layers changed"),
        (start(torch.nn.init.kaiming_uniform_), "times as widely as Xavier's"),
        (start(lambda weight: None), "the weights did not"),
    ],
)
def test_another_start(restart, says):
    judged = graders.xavier_start(restart, torch.rand(1, 3, 16, 16), 1)
    assert judged == says if not says else says in judged


def test_skips_cut_by_turns():
    torch.manual_seed(0)
    model = eon.ConvAutoencoder(skips=True)

    def parts(batch):
        code, skips = model.encode(batch)
        return code, skips, [torch.zeros_like(skip) for skip in skips]

    def odd(model, batch, step):
        code, skips, cut = parts(batch)
        return model.decode(code, cut if step % 2 else skips)

    def silent(model, batch, step):
        code, skips, _ = parts(batch)
        return model.decode(code.mean(0, keepdim=True).expand_as(code) if step % 2 else code, skips)

    def one(model, batch, step):
        code, skips, cut = parts(batch)
        return model.decode(code, [cut[0], *skips[1:]] if step % 2 else skips)

    said = [
        (None, lambda model, batch, step: None),
        ("", odd),
        ("", lambda model, batch, step: odd(model, batch, step + 1)),
        ("No step cuts", lambda model, batch, step: model(batch)),
        ("that is V2", lambda model, batch, step: odd(model, batch, 1)),
        ("You silenced the code", silent),
        ("all skips are zero", one),
        ("what is left of step / 2", lambda model, batch, step: odd(model, batch, step // 2)),
    ]
    for words, forward in said:
        judged = graders.skips_cut_by_turns(forward, {"V3": model}, torch.rand(2, 3, 16, 16), 1)
        assert judged == words if not words else words in judged


@pytest.fixture(scope="module")
def local_pcas():
    torch.manual_seed(0)
    return eon.load_autoencoder("v2", channels=16), torch.rand(2, 3, 64, 64)


def test_a_choice_at_random(local_pcas):
    model, pictures = local_pcas
    said = {
        None: lambda pca, cells: None,
        "": lambda pca, cells: torch.randint(8 * len(pca.bases), (len(cells),)),
        "In which of its eight": lambda pca, cells: torch.randint(len(pca.bases), (len(cells),)),
        "from 0 to 1023": lambda pca, cells: 1024 * torch.rand(len(cells)),
        "fits best": lambda pca, cells: pca.choose(cells, 15),
        "each cell draw for itself": lambda pca, cells: torch.full((len(cells),), 900),
        "One choice a cell": lambda pca, cells: torch.randint(1024, (1,)),
    }
    for words, choose in said.items():
        judged = graders.random_bases(choose, model, pictures)
        assert judged == words if not words else words in judged


def test_an_error_to_go_down(local_pcas):
    model, _ = local_pcas
    photo = eon.photos((32, 32), eon.HELD_OUT_PHOTOS, centre=True)[:1]

    def distance(decode, model, choice, numbers, photo):
        return (decode(torch.cat([choice, numbers], 1)) - photo).square()

    def said(error):
        return graders.code_error(error, model, photo)

    whole = partial(distance, model.decode)
    assert said(lambda *given: None) is None
    assert said(lambda *given: whole(*given).mean()) == ""
    assert "take their mean" in said(whole)
    assert "dB worse" in said(lambda *given: -whole(*given).mean())
    assert "does not depend" in said(lambda *given: whole(*given).mean().detach())
    rough = partial(distance, model.reconstruct)
    assert "refinement" in said(lambda *given: rough(*given).mean())


@pytest.mark.parametrize(
    ("fewest", "gains", "says"),
    [
        (None, {}, None),
        (None, {1: 7.0, 2: 7, 3: 7, 4: 7}, "read the smallest number"),
        (1, {1: 5.5, 2: 7, 3: 7, 4: 7}, ""),
        (2, {1: 4.5, 2: 7, 3: 7, 4: 7}, ""),
        (1, {}, "Measure"),
        (1, {1: 3.0}, "Measure"),
        (1, "rubbish", "Measure"),
        (4, {1: 5.5, 2: 7, 3: 7, 4: 7}, "Fewer will do"),
        (1, {1: 4.5, 2: 7, 3: 7, 4: 7}, "more than 2 dB below"),
        (float("nan"), {1: 4.5, 2: 7, 3: 7, 4: 7}, "one of the numbers"),
    ],
)
def test_the_fewest_frames(fewest, gains, says):
    judged = graders.fewest_frames(fewest, gains)
    assert judged == says if not says else says in judged


def test_clips_that_never_come_twice():
    held_out = eon.DeadLeaves(4, 5, 16, 1, train=False).stack()
    leaves = partial(eon.DeadLeaves, 12, 5, 16)
    said = {
        None: lambda step: None,
        "": lambda step: leaves(start=12 * step).stack(),
        "by how many must the start move on": lambda step: leaves(start=step).stack(),
        "the same clips": lambda step: leaves().stack(),
        "nobody can repeat": lambda step: torch.rand(12, 5, 3, 16, 16),
        "A batch is (12, 5, 3, 16, 16)": lambda step: leaves(start=12 * step).stack()[:3],
        "Train on others": lambda step: eon.DeadLeaves(
            12, 5, 16, 1, train=False, start=12 * step).stack(),
    }  # fmt: skip
    for words, draw in said.items():
        judged = graders.new_leaves(draw, held_out, 1)
        assert judged == words if not words else words in judged


def test_slow_motion():
    steps = torch.arange(8.0)
    x = torch.arange(32.0)
    row = 0.5 + 0.4 * torch.sin((x - 3 * steps[:, None]) / 3)
    films = row[None, :, None, None].expand(2, -1, 3, 32, -1).contiguous()

    def fill(films):  # what a motion of three pixels a frame says
        return torch.stack([films[:, 3].roll(3, -1), films[:, 3].roll(6, -1)], 1)

    said = {
        None: lambda films: None,
        "": fill,
        "wrong order": lambda films: fill(films).flip(1),
        "Both frames are the same": lambda films: fill(films)[:, [0, 0]],
        "fourth and the seventh frame alone": lambda films: films[:, 4:6],
        "No better than fading": lambda films: films[:, [3, 6]],
        "Two frames a film": lambda films: films[:, 3],
    }
    for words, slow in said.items():
        judged = graders.slow_motion(slow, films)
        assert judged == words if not words else words in judged


def test_the_part_that_answers_better():
    def right_from(question, part):
        return 90.0 if (part.start == 132) == (question != "how it moves") else 60.0

    def said(*parts):
        winners = dict(zip(graders.PART_HINTS, parts, strict=True))
        return graders.best_parts(winners, right_from, slice(132, None))

    assert said(None, None, None) is None
    assert said("moves", "looks", "looks") == ""
    assert said("moves", "moves", "looks").startswith("which game")
    assert 'write "moves" or "looks"' in said("moves", None, "both")
    assert "Name a part" in graders.best_parts(["moves"], right_from, slice(132, None))


def test_an_alarm_for_cuts_and_frozen_frames():
    clips = eon.DeadLeaves(6, 13, 32, 1, train=False).stack()
    events = {"leaves": eon.transfer.make_events(clips, 0)}

    def change(clips):
        return clips.diff(dim=1).abs().mean((2, 3, 4)).clamp(min=1e-6).log()

    def both(clips):
        return (change(clips)[:, -1] - change(clips)[:, :-1].mean(1)).abs()

    said = {
        None: lambda clips: None,
        "": both,
        "change its sign": lambda clips: -both(clips),
        "hears cuts": lambda clips: change(clips)[:, -1],
        "hears frozen frames": lambda clips: -change(clips)[:, -1],
        "one number a clip": lambda clips: change(clips),
        "50 % of the cuts": lambda clips: torch.zeros(len(clips)),
    }
    for words, alarm in said.items():
        judged = graders.change_alarm(alarm, events)
        assert judged == words if not words else words in judged


def test_the_readers_errors_never_fail_the_notebook(answered):
    given = {
        "02-2": {"pictures": torch.rand(1, 3, 16, 16), "steps": 1},
        "05-3": {"films": torch.rand(1, 8, 3, 16, 16)},
        "06-3": {"events": {"leaves": {"nothing": torch.rand(1, 7, 3, 8, 8)}}},
    }
    for name, arguments in given.items():
        for wrong in (*NONSENSE, lambda *words: 1 / 0, lambda *words: "text", lambda: None):
            said = answered(name, wrong, **arguments)
            assert said.startswith("Not yet. ") or said == f"{EVERY[name]['to do']}\n", wrong
    said = answered("05-3", lambda films: 1 / 0, **given["05-3"])
    assert "Your code raised ZeroDivisionError: division by zero." in said


if __name__ == "__main__":
    text = json.dumps(renewed(), indent=1, ensure_ascii=False)
    exercises.TABLE.write_text(f"{text}\n", encoding="utf-8")
