"""The course runner, the site and the release tools, on a tiny course of three notebooks."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from terminal import start

from eon_utils.__main__ import main, parser
from eon_utils.course import extension, outputs, publish, runner
from eon_utils.course.ledger import read_ledger
from eon_utils.course.parameters import plan, rules

PARAMETERS = """preset = "laptop"  # smoke, laptop or full
seed = 0  # a whole number
size = None  # width of the pictures
steps: int | None = None  # optimiser steps
lr = 1e-3  # learning rate
images = ""  # a folder of your own pictures
resume = False  # go on where the last run stopped"""
SHOW = """from IPython.display import display
display({"image/png": "%s", "text/plain": "a figure"}, raw=True,
        metadata={"image/png": {"alt": "one <red> pixel"}, "screenshot": "tiny_red"})"""
MEASURE = """from IPython.display import display
row = {"phase": "01", "model": "V1", "metric": "accuracy", "value": 97.25, "unit": "%",
       "preset": preset, "seed": seed, "device": "cpu"}
ledger = "application/vnd.eon.ledger+json"
display({"text/html": "<b>table</b>", "text/plain": "table", ledger: [row]}, raw=True)"""
CLAIMS = r"""# NBVAL_CHECK_OUTPUT
print('holds               it works\nnot at this preset  it learns')"""
README = "# Tiny\n<!-- lessons:begin -->\nold\n<!-- lessons:end -->\nafter\n"
RESULTS = "# Results\n<!-- results 01:begin -->\n<!-- results 01:end -->\nafter\n"
WIDGET = """import anywidget, traitlets
class Tiny(anywidget.AnyWidget):
    _esm = "export default { render({ model, el }) { el.textContent = model.get('text'); } }"
    _css = ".tiny { color: red }"
    text = traitlets.Unicode("</script>").tag(sync=True)
tiny = Tiny()
tiny"""


def pixel():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def write(path, cells, parameters=PARAMETERS):
    made = [new_markdown_cell(c[3:]) if c.startswith("md ") else new_code_cell(c) for c in cells]
    made.insert(1, new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=made), path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The root of a course: 00 breaks, 01 measures and shows, 02 has a parameter of its own."""
    root = tmp_path_factory.mktemp("tiny")
    write(
        root / "notebooks" / "00_breaks.ipynb",
        [
            "md # Breaks <script>alert(1)</script>",
            "md ## So far",
            "print('so far')",
            "1 / 0",
            "print('never')",
        ],
    )
    write(
        root / "notebooks" / "01_works.ipynb",
        [
            "md # Works\n\nA picture: ![drawn](../drawn.png). Does it work?",
            "md ## Sums\n\nSo $\\frac{1}{2} < 1$, and `$x$`.",
            "import sys\nprint(sys.executable)\nprint(preset, seed)",
            "md [back](00_breaks.ipynb#So-far) [gone](../setup.cfg)",
            "md <details><summary>Hint</summary>\n\n*so*\n\n</details>",
            SHOW % pixel(),
            MEASURE,
            WIDGET,
            CLAIMS,
        ],
    )
    write(
        root / "notebooks" / "02_own.ipynb",
        ["md # Own", "print(images, frames)"],
        PARAMETERS + "\nframes = 5  # how many",
    )
    glossary = "# Glossary\n\nWords. [Works](01_works.ipynb)\n"
    (root / "notebooks" / "glossary.md").write_text(glossary)
    (root / "README.md").write_text(README)
    Image.new("RGB", (2, 2)).save(root / "drawn.png")
    return root


@pytest.fixture(scope="module")
def ran(tiny, tmp_path_factory):
    """One run of the tiny course from the command line, where the user's `python3` is broken."""
    home = tmp_path_factory.mktemp("home")
    for folder in ("data", "path"):
        kernel = home / folder / "kernels" / "python3"
        kernel.mkdir(parents=True)
        spec = {"argv": ["/nowhere/python", "-f", "{connection_file}"], "display_name": "broken"}
        (kernel / "kernel.json").write_text(json.dumps(spec | {"language": "python"}))
    env = {k: v for k, v in os.environ.items() if k != "JUPYTER_PREFER_ENV_PATH"}
    env["HOME"] = str(home)
    env["JUPYTER_DATA_DIR"] = str(home / "data")
    env["JUPYTER_PATH"] = str(home / "path")
    (home / "mine").mkdir()
    Image.new("RGB", (8, 8)).save(home / "mine" / "sea.png")
    words = f"run --preset smoke --root {tiny} --out {tiny}/runs/one".split()
    words += ["-p", "seed=3", "-p", "images", "mine", "-p", "frames=7"]
    command = [sys.executable, "-m", "eon_utils", *words]
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=300)
    return done, tiny / "runs" / "one", home


def printed_in(path):
    nb = nbformat.read(path, 4)
    return "\n".join(output.get("text", "") for output in outputs.outputs(nb))


# --- parameters are checked before anything runs ---


@pytest.mark.parametrize(
    ("notebook", "setting", "said"),
    [
        ("01", "units=0", "units=0 must be greater than 0"),
        ("02", "size=64", "size=64 must be 2 numbers, such as"),
        ("02", "size=[64, 0]", "size=0 must be greater than 0"),
        ("02", "noise=-1", "noise=-1 must be a number from 0 on"),
        ("03", "steps=0", "steps=0 must be greater than 0"),
        ("04", "size=[64, 64]", "size=[64, 64] must be of type int"),
        ("05", "size=50", "size=50 must be a multiple of 16"),
        ("05", "seed=4294967296", "seed=4294967296 must be a whole number from 0 to"),
        ("06", "steps=1.5", "steps=1.5 must be of type int"),
        ("01", "size=[10, 10]", "size=[10, 10] must be multiples of 16, such as [16, 16]"),
        ("02", "size=[100, 60]", "size=[100, 60] must be multiples of 16, such as [96, 64]"),
        ("03", "dataset=CIFAR100", "dataset='CIFAR100' is unknown; choose one of CIFAR10, STL10"),
        ("05", f"weights={__file__}", f"weights='{__file__}': test_runner.py cannot be read as"),
        ("06", f"videos={__file__}", f"videos='{__file__}' holds no usable video: test_runner.py"),
        ("02", f"images={__file__}", f"images='{__file__}' holds no readable picture: test_runn"),
    ],
)
def test_the_notebooks_own_rules_hold_before_they_run(repo, notebook, setting, said):
    (path,) = (repo / "notebooks").glob(f"{notebook}_*.ipynb")
    name, value = setting.split("=")
    with pytest.raises(ValueError) as error:
        plan([path], "smoke", {name: value})
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    "cell",
    [
        "%matplotlib inline\ncfg = eon.resolve(preset, seed, dict(steps=(1, 2, 3)), steps=steps)",
        "cfg = eon.resolve(preset, seed, make_table(), steps=steps)",
        "cfg = eon.resolve(preset, seed, dict(steps=COUNTS), steps=steps)",
        "# eon.resolve(preset, seed)",
    ],
)
def test_a_table_that_cannot_be_read_off_stops_nobody(tmp_path, cell):
    write(tmp_path / "notebooks" / "01_mine.ipynb", ["md # Mine", cell])
    path = tmp_path / "notebooks" / "01_mine.ipynb"
    assert plan([path], "smoke", {"steps": "7"}) == [(path, {"steps": 7, "preset": "smoke"})]


def test_what_own_videos_must_give_is_read_off(repo):
    needed = {path.name[:2]: rules(path) for path in (repo / "notebooks").glob("0[456]_*.ipynb")}
    clips = {number: found.get("own_clips") for number, found in needed.items()}
    assert clips == {"04": (1, 14), "05": None, "06": (2, 8)}
    assert all(found["table"]["size"][0] == 32 for found in needed.values())


def test_what_the_notebooks_take_is_planned(repo):
    paths = sorted((repo / "notebooks").glob("*.ipynb"))
    settings = {"noise": "0", "steps": "3", "resume": "false", "seed": "4294967295"}
    planned = {path.name[:2]: values for path, values in plan(paths, "smoke", settings)}
    assert planned["02"] == {"seed": 4294967295, "steps": 3, "noise": 0, "preset": "smoke"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["-p", "sed=3"],
            ["unknown parameter sed", "preset, seed, size, steps, lr, images", "frames"],
        ),
        (["-p", "steps=abc"], ["steps=abc", "int or None"]),
        (["-p", "steps=1.5"], ["steps=1.5", "int or None"]),
        (["-p", "size=abc"], ["size=abc", "int or float or list or None"]),
        (["-p", "seed=1e3"], ["seed=1e3", "int"]),
        (["-p", "seed=-1"], ["seed=-1 must be a whole number from 0 to 4294967295"]),
        (["-p", "seed=4294967296"], ["seed=4294967296 must be a whole number from 0"]),
        (["-p", "resume=3"], ["resume=3", "bool"]),
        (["-p", "seed=true"], ["seed=true", "int"]),
        (["-p", "seed"], ["-p name=value"]),
        (["--preset", "huge"], ["preset huge", "smoke, laptop, full"]),
        (["-p", "preset=huge"], ["preset huge", "smoke, laptop, full"]),
        (["-p", "images=nowhere"], ["images=nowhere does not exist", "folder or file of yours"]),
        (["--out", __file__], [f"{__file__} is a file; choose another --out"]),
        (["--only", "07"], ["no notebook 07", "00_breaks, 01_works, 02_own"]),
        (["--only", "01", "-p", "frames=3"], ["unknown parameter frames"]),
    ],
)
def test_refused_before_anything_runs(tiny, capsys, words, said):
    runs = tiny / "runs"
    before = sorted(runs.glob("*")) if runs.exists() else []
    assert main(["run", "--root", str(tiny), *words]) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in said), message
    assert (sorted(runs.glob("*")) if runs.exists() else []) == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: f"<<<<<<< HEAD\n{text}", "no notebook that can be read"),
        (lambda text: text[: len(text) // 2], "no notebook that can be read"),
        (lambda text: "[]", "no notebook that can be read"),
        (lambda text: text.replace("seed = 0", "seed = = 0"), "its cell tagged parameters, line"),
        (
            lambda text: text.replace("seed = 0", "seed = max(0, 1)"),
            "seed = max(0, 1); in the cell",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run --preset smoke", "sweep 01 -p seed=0..1"])
def test_a_notebook_that_cannot_be_read_is_named(tmp_path, capsys, spoil, said, command):
    path = tmp_path / "notebooks" / "01_mine.ipynb"
    write(path, ["md # Mine"], "preset = 'smoke'\nseed = 0")
    path.write_text(spoil(path.read_text()))
    assert main([*command.split(), "--root", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "01_mine.ipynb" in message and said in message and message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notebooks"]


def test_a_damaged_ledger_is_named(tmp_path):
    path = tmp_path / "ledger.json"
    for text in ("", "[", "{}x", "[1]", '[{"phase": "01"}]', "null"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"ledger.json is no ledger that can be read .*remove"):
            read_ledger(path)


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, "make_student", stopped)
    assert main(["student"]) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C\n"


def test_a_path_that_the_shell_left_alone_leads_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parser().parse_args(["student", "--out=~/mine"]).out == tmp_path / "mine"
    slides = parser().parse_args(["slides", "--out=~/mine", "--run=~/run"])
    assert (slides.out, slides.run) == (tmp_path / "mine", tmp_path / "run")


def test_plan_types_and_shares_parameters(tiny):
    given = {"lr": "1e-2", "resume": "true", "frames": "7", "steps": "none", "size": "[64, 48]"}
    jobs = dict(plan(runner.select(root=tiny), "laptop", given))
    by_name = {path.name: values for path, values in jobs.items()}
    assert by_name["01_works.ipynb"] == {"lr": 0.01, "resume": True, "size": [64, 48]}
    assert by_name["02_own.ipynb"] == {"lr": 0.01, "resume": True, "size": [64, 48], "frames": 7}


def test_a_run_has_a_folder_of_its_own_even_when_the_clock_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(runner.time, "strftime", lambda form: "2026-10-25_02-30-00")
    names = []
    for _ in range(3):
        folder = runner.dated_folder(tmp_path)
        folder.mkdir()
        names.append(folder.name)
    assert names == [f"2026-10-25_02-30-00{end}" for end in ("", "_2", "_3")]
    assert runner.dated_folder(tmp_path, "sweep_").name == "sweep_2026-10-25_02-30-00"


def test_what_is_announced_is_what_the_notebooks_say(repo, capsys):
    jobs = [(path, {"seed": 3}) for path in sorted((repo / "notebooks").glob("0[26]_*.ipynb"))]
    runner.announce(jobs, "full")
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"^  02_\w+ +half an hour +seed=3$", lines[0])
    assert re.search(r"^  06_\w+ +an hour +seed=3$", lines[1])


def test_a_run_never_overwrites(tiny, ran, capsys):
    assert main(["run", "--root", str(tiny), "--out", str(ran[1])]) == 2
    assert "not empty" in capsys.readouterr().err


# --- one run ---


def test_failure_is_told_and_the_rest_goes_on(ran):
    done, out, _ = ran
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"00_breaks +failed", done.stdout) and re.search(r"02_own +ok", done.stdout)
    assert "00_breaks failed at cell [4]: ZeroDivisionError: division by zero" in done.stdout
    assert re.search(r"01_works +ok .*1 claims hold, 1 not at this preset", done.stdout)
    assert re.search(r"01 +V1 +97\.2", done.stdout)
    printed = printed_in(out / "00_breaks.ipynb")
    assert "so far" in printed and "never" not in printed
    assert "ZeroDivisionError" in (out / "log.txt").read_text()
    assert (out.parent / "latest").resolve() == out.resolve()


def test_the_kernel_is_the_environments_own(ran):
    printed = printed_in(ran[1] / "01_works.ipynb")
    assert sys.prefix in printed and "smoke 3" in printed


def test_own_pictures_are_found_from_where_the_user_stands(ran):
    assert f"{ran[2].resolve()}/mine 7" in printed_in(ran[1] / "02_own.ipynb")


def test_ledger_is_collected(ran):
    rows = read_ledger(ran[1] / "ledger.json")
    assert [r["value"] for r in rows if r["metric"] == "accuracy"] == [97.25]
    timed = [r for r in rows if r["metric"] == "notebook"]
    assert [r["phase"] for r in timed] == ["00", "01", "02"] and all(r["seed"] == 3 for r in timed)


def test_jupyterlab_will_trust_the_run(ran, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(ran[2] / "data"))
    from nbformat.sign import NotebookNotary

    assert NotebookNotary().check_signature(nbformat.read(ran[1] / "01_works.ipynb", 4))


# --- its site ---


@pytest.fixture(scope="module")
def pages(ran):
    built = (ran[1] / "site").rglob("*.html")
    built = [path for path in built if "_static" not in path.parts]
    return {path.name: path.read_text(encoding="utf-8") for path in built}


def test_site_has_every_page(pages):
    names = {"index", "00_breaks", "01_works", "02_own", "figures", "glossary", "results"}
    assert set(pages) == {f"{name}.html" for name in [*names, "search"]}
    index = pages["index.html"]
    assert "Does it work?" in index and "1 claims hold" in index
    assert "V1" in pages["results.html"] and "97.2" in pages["results.html"]
    assert "failed" in index and "ZeroDivisionError: division by zero" in index


def test_site_loads_nothing_from_outside(pages):
    address = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"([^\"]*)\"")
    for name, page in pages.items():
        loaded = address.findall(page)
        assert loaded and not [url for url in loaded if re.match(r"//|(?!data:)\w+:", url)], name
        assert not re.search(r"@import|url\((?!data:)|\bfrom [\"']http", page), name
        assert f'http-equiv="Content-Security-Policy" content="{extension.POLICY}"' in page, name


def test_site_escapes_what_a_title_says(pages):
    for page in pages.values():
        assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages["index.html"]


def source(picture):
    return re.search(r'src="([^"]*)"', picture)[1]


def test_site_page_keeps_what_was_shown(pages, ran):
    site = ran[1] / "site"
    page = pages["01_works.html"]
    assert 'alt="one &lt;red&gt; pixel"' in page and "<b>table</b>" in page
    assert "Figure 1. one &lt;red&gt; pixel" in page
    assert "<mfrac>" in page and re.search(
        r"<code[^>]*><span class=.pre.>\$x\$</span></code>", page
    )
    assert 'href="00_breaks.html#so-far"' in page and 'href="../setup.cfg' not in page
    picture = re.search(r"<img[^>]*drawn[^>]*>", page)[0]
    assert 'alt="drawn"' in picture and (site / "notebooks" / source(picture)).is_file()
    assert re.search(r"<summary>Hint</summary>\s*<p><em>so</em></p>\s*</details>", page)
    assert 'href="#sums">Sums</a>' in page and 'rel="prev"' in page and 'rel="next"' in page
    assert 'href="01_works.html"' in pages["glossary.html"]


def test_site_page_carries_the_widget(pages):
    page = pages["01_works.html"]
    key = re.search(r'class="eon-widget" data-model="(\w+)"', page)[1]
    store = json.loads(re.search(r'id="eon-widgets">(.*?)</script>', page, re.S)[1])
    assert store["models"][key]["state"]["text"] == "</script>"
    script = store["esm"][store["models"][key]["esm"]]
    assert "export default" in script and ".tiny { color: red }" in page
    assert "src" not in re.search(r'<script[^>]*id="eon-widgets"', page)[0]


def test_failed_page_says_where(pages):
    page = pages["00_breaks.html"]
    assert "This run stopped at cell [4]." in page and "ZeroDivisionError" in page
    assert "papermill encountered" not in page


def test_site_can_be_built_again(tiny, ran, capsys):
    (ran[1] / "site" / "index.html").unlink()
    assert main(["site", "--root", str(tiny)]) == 0
    assert capsys.readouterr().out.strip().endswith("site/index.html")
    assert (ran[1] / "site" / "index.html").exists()
    assert main(["site", str(tiny / "README.md")]) == 2


def test_formula_that_cannot_be_read_is_shown_as_written():
    assert extension.mathml("x_1_<", "inline") == "<code>x_1_&lt;</code>"


# --- Ctrl-C ---


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_keeps_what_is_there(tmp_path):
    wait = f"import time; open(r'{tmp_path}/on', 'w').close(); time.sleep(90)"
    write(tmp_path / "notebooks" / "00_slow.ipynb", ["md # Slow", "print('begun')", wait])
    write(tmp_path / "notebooks" / "01_never.ipynb", ["md # Never"])
    words = ["run", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    process = start([sys.executable, "-m", "eon_utils", *words])
    while not (tmp_path / "on").exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "begun" in printed_in(tmp_path / "out" / "00_slow.ipynb")
    assert "interrupted" in (tmp_path / "out" / "site" / "index.html").read_text()
    assert not (tmp_path / "out" / "01_never.ipynb").exists()
    assert not (tmp_path / "latest").exists(), "not a whole run"
    assert f"run --resume {tmp_path}/out" in said


# --- a run that was stopped goes on ---


@pytest.fixture
def counted(tmp_path):
    """A course of two notebooks that count how often they run; the second waits for a file."""
    wait = f"import os, pathlib; assert pathlib.Path(r'{tmp_path}/go').exists(), 'not yet'"
    for name in ("00_first", "01_second"):
        count = f"print(size); open(r'{tmp_path}/{name}.txt', 'a').write('x')"
        cells = [f"md # {name}", count, wait if name == "01_second" else "1"]
        write(tmp_path / "notebooks" / f"{name}.ipynb", cells)
    return tmp_path


def runs_of(root):
    return [len((root / f"{name}.txt").read_text()) for name in ("00_first", "01_second")]


def test_what_ran_through_is_kept(counted, capsys):
    out = counted / "runs" / "one"
    words = ["run", "--preset", "smoke", "--root", str(counted), "--out", str(out)]
    assert main([*words, "-p", "size=[64,48]"]) == 1
    (counted / "go").touch()
    assert main(["run", "--root", str(counted), "--resume", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Kept, because they ran through: 00_first" in said
    assert runs_of(counted) == [1, 2]
    assert "[64, 48]" in printed_in(out / "01_second.ipynb"), "with the parameters that it had"
    assert [row["phase"] for row in read_ledger(out / "ledger.json")] == ["00", "01"]
    assert (counted / "runs" / "latest").resolve() == out.resolve()


def test_killed_anywhere_it_goes_on(counted):
    (counted / "go").touch()
    out = counted / "runs" / "one"
    command = [sys.executable, "-m", "eon_utils", "run", "--root", str(counted), "--out", str(out)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while not (counted / "00_first.txt").exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (out / "01_second.ipynb").write_text("{torn")
    assert main(["run", "--root", str(counted), "--resume", str(out)]) == 0
    assert all(runner.ran_through(out / f"{name}.ipynb") for name in ("00_first", "01_second"))


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--only", "00"], "leave the other options out"), ([], "is no folder of a run")],
)
def test_what_cannot_go_on_is_said(counted, capsys, words, said):
    command = ["run", "--root", str(counted), "--resume", str(counted)]
    assert main([*command, *words]) == 2
    assert said in capsys.readouterr().err


def test_latest_is_a_run_of_the_whole_course(counted):
    (counted / "go").touch()
    words = ["run", "--preset", "smoke", "--root", str(counted), "--out"]
    assert main([*words, str(counted / "runs" / "whole")]) == 0
    assert main([*words, str(counted / "runs" / "part"), "--only", "01"]) == 0
    assert runner.latest_run(counted / "runs").name == "whole"


# --- what is committed ---


def test_notebooks_are_saved_clean(tmp_path, capsys):
    folder = tmp_path / "notebooks"
    write(folder / "00_breaks.ipynb", ["md # Breaks", "1 / 0"])
    works = ["md # Works", SHOW % pixel(), MEASURE, WIDGET, "print(1)\nprint(2)"]
    write(folder / "01_works.ipynb", works)
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "RESULTS.md").write_text(RESULTS)
    (tmp_path / "screenshots").mkdir()
    (tmp_path / "screenshots" / "stale.png").write_bytes(b"")
    untouched = (folder / "00_breaks.ipynb").read_text()
    assert main(["notebooks", "--root", str(tmp_path)]) == 1
    assert (folder / "00_breaks.ipynb").read_text() == untouched
    nb = nbformat.read(folder / "01_works.ipynb", 4)
    text = (folder / "01_works.ipynb").read_text()
    assert outputs.VIEW not in text and "widgets" not in nb.metadata and "papermill" not in text
    assert [c.id for c in nb.cells] == [f"cell-{i:02d}" for i in range(1, len(nb.cells) + 1)]
    assert [c.execution_count for c in nb.cells if c.cell_type == "code"] == [1, 2, 3, 4, 5]
    assert nb.metadata.kernelspec.name == "python3"
    assert nb.metadata.eon.code_sha256 == publish.code_hash(nb)
    ledger = read_ledger(tmp_path / "data" / "ledger.json")
    assert [row["metric"] for row in ledger] == ["accuracy", "notebook"]
    assert [p.name for p in (tmp_path / "screenshots").glob("*.*")] == ["tiny_red.png"]
    readme = (tmp_path / "README.md").read_text()
    assert re.search(r"\| \[01\]\(notebooks/01_works.ipynb\) \| .* \| 0\.\d \|\n", readme)
    assert "old" not in readme and readme.endswith("after\n")
    results = (tmp_path / "RESULTS.md").read_text()
    assert "| V1 | 97.2 |" in results and results.endswith("after\n")

    # outputs are older than the code now, and cleaning must not hide it
    nb.cells[1].source += "\n# edited"
    nbformat.write(nb, folder / "01_works.ipynb")
    assert main(["notebooks", "--clean-only", "--only", "01", "--root", str(tmp_path)]) == 0
    nb = nbformat.read(folder / "01_works.ipynb", 4)
    assert nb.metadata.eon.code_sha256 != publish.code_hash(nb)


def test_a_notebook_edited_while_it_ran_is_left_alone(tmp_path, capsys):
    path = tmp_path / "01_a.ipynb"
    write(path, ["md # A", "print(1)"])
    done = nbformat.read(path, 4)
    write(path, ["md # A", "print(2)"])
    assert not publish.take_outputs(path, done)
    assert "print(2)" in path.read_text() and "edited while it ran" in capsys.readouterr().out


def test_student_copies(tmp_path, capsys):
    write(tmp_path / "notebooks" / "01_a.ipynb", ["md # A", "print(1)", "print('the answer')"])
    path = tmp_path / "notebooks" / "01_a.ipynb"
    nb = nbformat.read(path, 4)
    nb.cells[-1].metadata.tags = ["solution"]
    nb.cells[-2].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    nbformat.write(nb, path)
    assert main(["student", "--root", str(tmp_path)]) == 0
    copy = nbformat.read(tmp_path / "student" / "01_a.ipynb", 4)
    assert copy.cells[-1].source == "print(1)" and "the answer" not in str(copy)
    assert copy.cells[-1].outputs == []
    assert "the answer" in path.read_text()
    assert main(["student", "--root", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_latest_may_be_a_text_file(tmp_path, monkeypatch):
    def no_links(*_, **__):
        raise OSError("no symbolic links here")

    (tmp_path / "one").mkdir()
    monkeypatch.setattr("pathlib.Path.symlink_to", no_links)
    runner.point_latest(tmp_path / "one")
    assert runner.latest_run(tmp_path) == (tmp_path / "one").resolve()
    (tmp_path / "two").mkdir()
    runner.point_latest(tmp_path / "two")
    assert runner.latest_run(tmp_path).name == "two"


# --- what must not end a course ---


def test_a_full_disk_fails_the_notebook_and_not_the_course(tiny, tmp_path, monkeypatch, capsys):
    def no_room(path):
        raise OSError(28, "No space left on device")

    path = tiny / "notebooks" / "02_own.ipynb"
    monkeypatch.setattr(runner, "whole_file", no_room)
    nb = runner.execute(path, tmp_path / "02_own.ipynb", {"preset": "smoke"})
    assert nb.metadata.eon.status == "failed"
    assert nb.metadata.eon.error["message"] == "not saved: No space left on device"
    assert "failed" in capsys.readouterr().out


def test_a_ledger_that_the_disk_does_not_take_ends_no_course(tiny, tmp_path, monkeypatch, capsys):
    def executed(path, out, values):
        nb = nbformat.read(path, 4)
        nb.metadata["eon"] = {"status": "ok", "error": None, "seconds": 1.0}
        nbformat.write(nb, out)
        return nb

    def full(path, rows):
        if len(rows) in full_at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "execute", executed)
    monkeypatch.setattr(runner, "write_ledger", full)
    monkeypatch.setattr(runner, "build_site", lambda out, root: out)
    full_at = {1}  # there is room again in the end
    assert runner.run("smoke", root=tiny, out=tmp_path / "a")[1] == 0
    said = capsys.readouterr().out
    assert said.count("ledger.json not written: No space left on device; the run goes on") == 1
    full_at = {1, 2, 3}
    assert runner.run("smoke", root=tiny, out=tmp_path / "b")[1] == 1
    assert len(list((tmp_path / "b").glob("*.ipynb"))) == 3


@pytest.mark.parametrize("command", ["run", "run --resume", "sweep --resume", "slides"])
def test_a_disk_that_is_read_only_is_told_in_a_sentence(
    tiny, ran, tmp_path, monkeypatch, capsys, command
):
    folder = tmp_path / "made"
    if "--resume" in command:
        folder.mkdir()
        asked = runner.read_asked(ran[1] / runner.ASKED, tiny)
        runner.write_asked(asked, folder / runner.ASKED)
        noted = {"notebook": "02_own.ipynb", "axes": {"seed": [1, 2]}}
        (folder / "sweep.json").write_text(json.dumps(noted))
    words = {
        "run": f"run --preset smoke --root {tiny} --out {folder}",
        "run --resume": f"run --root {tiny} --resume {folder}",
        "sweep --resume": f"sweep --root {tiny} --resume {folder}",
        "slides": f"slides --only 01 --out {folder}",
    }[command]
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as a read-only file system says
    assert main(words.split()) == 2
    option = "--resume" if "--resume" in command else "--out"
    said = f"error: {option} {folder} can't be written to; choose another folder\n"
    assert capsys.readouterr().err == said


def test_what_the_system_says_has_no_number(tmp_path, monkeypatch, capsys):
    def read_only(*_):
        raise OSError(30, "Read-only file system", str(tmp_path))

    monkeypatch.setattr(publish, "make_student", read_only)
    assert main(["student"]) == 2
    remedy = "choose another folder, or copy the course to where you may write"
    assert capsys.readouterr().err == f"error: {tmp_path}: Read-only file system; {remedy}\n"


def test_half_a_file_is_not_taken_for_a_notebook(tiny, tmp_path):
    path = tiny / "notebooks" / "02_own.ipynb"
    torn = tmp_path / "02_own.ipynb"
    torn.write_bytes(path.read_bytes()[:100])
    for out in (torn, tmp_path / "none.ipynb"):
        nb = runner._as_far_as_it_came(out, path)
        assert publish.code_hash(nb) == publish.code_hash(nbformat.read(path, 4))


def test_what_did_not_run_has_measured_nothing(tmp_path, monkeypatch):
    def no_kernel(*args, **settings):
        raise RuntimeError("Kernel died before replying to kernel_info")

    path = tmp_path / "notebooks" / "01_mine.ipynb"
    write(path, ["md # Mine", "measured"])
    nb = nbformat.read(path, 4)
    row = {"phase": "01", "model": "V1", "metric": "psnr", "value": 30.0, "unit": "dB"}
    data = {outputs.LEDGER_MIME: [row | {"preset": "laptop", "seed": 0, "device": "cpu"}]}
    nb.cells[-1].outputs = [new_output("display_data", data)]
    nbformat.write(nb, path)
    monkeypatch.setattr(runner.papermill, "execute_notebook", no_kernel)
    ended = runner.execute(path, tmp_path / path.name, {})
    assert ended.metadata.eon.status == "failed"
    (row,) = runner.measured(ended, "01", "smoke", {})
    assert row["metric"] == "notebook"


def test_who_has_no_home_has_no_signatures(tiny, monkeypatch):
    def no_home(*settings):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(runner, "NotebookNotary", no_home)
    runner.sign(nbformat.read(tiny / "notebooks" / "02_own.ipynb", 4))
