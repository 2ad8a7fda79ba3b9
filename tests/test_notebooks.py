"""The committed notebooks: their form, their freshness, whether they say what they said."""

import ast
import io
import re
import statistics
import subprocess
import sys

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from eon_utils.config import PRESETS
from eon_utils.course import pages, pictures, publish
from eon_utils.course.ledger import read_ledger
from eon_utils.course.outputs import VIEW, alt_of, images, kind_of, outputs, picture_of
from eon_utils.course.parameters import minutes, parameters
from eon_utils.course.widgets import ALL_BYTES, FILE_BYTES, FOLDER, KEY, restore_widgets
from eon_utils.notebook.display import COARSENESS, SUFFIXES

NAMES = (
    "00_start_here",
    "01_image_reconstruction_sanity",
    "02_deep_image_reconstruction",
    "03_generalized_image_reconstruction",
    "04_next_frame_sanity",
    "05_generalized_next_frame",
    "06_transferring_the_prior",
)
NUMBERS = {"a": 1, "an": 1, "two": 2}
UNITS = {"second": 1, "minute": 60, "hour": 3600}
MACHINE = re.compile(r"(?<![\w.])/(home|root|work|Users|tmp/ipykernel\w*)/|\b[A-Z]:\\")
SANITIZE = """[a claim that is checked under the laptop preset only]
regex: (?m)^(holds|not at this preset) +
replace: checked\x20\x20
"""


@pytest.fixture(params=NAMES)
def path(request, repo):
    """Each notebook's path; a notebook that is not written yet is skipped."""
    found = repo / "notebooks" / f"{request.param}.ipynb"
    if not found.exists():
        pytest.skip(f"{found.name} is not there yet")
    return found


@pytest.fixture
def nb(path):
    return nbformat.read(path, as_version=4)


def code(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def printed(nb):
    texts = []
    for output in outputs(nb):
        texts.append(output.get("text", "") + str(output.get("data", {}).get("text/plain", "")))
    return "\n".join(texts)


# --- form ---


def test_executed_once_in_order_without_error(nb):
    nbformat.validate(nb)
    counts = [cell.execution_count for cell in code(nb) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1)), "run: make notebooks"
    assert not [output.evalue for output in outputs(nb) if output.output_type == "error"]


def test_outputs_belong_to_this_code(nb):
    saved = nb.metadata.get("eon", {}).get("code_sha256")
    assert saved == publish.code_hash(nb), "run: make notebooks"


def test_committed_form(nb, path):
    text = path.read_text(encoding="utf-8")
    assert nb.metadata.kernelspec.name == "python3"
    assert "widgets" not in nb.metadata and VIEW not in text and "papermill" not in nb.metadata
    assert not [c.id for c in nb.cells if "papermill" in c.metadata or "execution" in c.metadata]
    assert len(text.encode()) <= 1_500_000
    clean = nbformat.read(path, as_version=4)
    publish.tidy(clean)
    assert clean == nb, "run: python -m eon_utils notebooks --clean-only"


def test_pictures_are_as_drawn_and_described(nb):
    """Charts are SVG; photographs are in true colour, and JPEGs of full colour resolution."""
    for output in images(nb):
        said = alt_of(output)
        assert len(said) >= 20, f"no alt text, or one that says nothing: {said!r}"
        still = picture_of(output)
        if kind_of(output) == "image/svg+xml":
            assert len(still) <= 60_000, said
            assert "<image" not in output.data["image/svg+xml"], said
            continue
        with Image.open(io.BytesIO(still)) as picture:
            assert picture.mode == "RGB", said
            if picture.format == "JPEG":
                assert get_sampling(picture) == 0, said
                steps = [step for table in picture.quantization.values() for step in table]
                assert max(steps) <= max(COARSENESS) / 4 + 1, f"coarser than drawn: {said}"


def test_kept_widgets_are_whole_and_small(nb, path):
    assert restore_widgets(nb, path.parent) == []
    for file in (path.parent / FOLDER).glob(f"{path.name[:2]}_*"):
        assert file.stat().st_size <= FILE_BYTES, file.name


def test_names_no_machine(nb):
    texts = [cell.source for cell in nb.cells] + [printed(nb)]
    texts += [str(o.get("data", {}).get("text/html", "")) for o in outputs(nb)]
    assert not [match[0] for text in texts if (match := MACHINE.search(text))]


def test_anatomy(nb, path):
    sources = [cell.source for cell in code(nb)]
    markdown = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    prose = re.sub(r"```.*?```", "", markdown, flags=re.S)
    assert len(nb.cells) <= 40 and (len(nb.cells) >= 25 or path.stem == NAMES[0])
    assert len(re.findall(r"^# ", prose, re.M)) == 1 and nb.cells[0].source.startswith("# ")
    assert len(re.findall(r"[A-Za-z]{2,}", re.sub(r"\]\([^)]*\)", "]", prose))) <= 2500
    assert statistics.median(len(source.splitlines()) for source in sources) <= 8
    assert len([c for c in nb.cells if "parameters" in c.metadata.get("tags", [])]) == 1


def seconds(words):
    """What a time in words comes to."""
    if words in ("half a minute", "half an hour"):
        return 30 if "minute" in words else 1800
    number, unit = words.split()
    count = NUMBERS[number] if number in NUMBERS else int(number)
    return count * UNITS[unit.removesuffix("s")]


def test_says_one_time_everywhere_and_that_which_was_measured(nb, path, repo):
    (header,) = (line for line in nb.cells[0].source.splitlines() if "**Time**" in line)
    times = {}
    for preset, words in re.findall(r"`(\w+)` (?:about )?([^,]+),", header):
        times[preset] = words
    (set_up,) = (
        line for cell in code(nb) for line in cell.source.splitlines() if "eon.setup" in line
    )
    assert ast.literal_eval(set_up[set_up.index("{") : set_up.index("}") + 1]) == times
    rows = read_ledger(repo / "data" / "ledger.json")
    (took,) = (
        row["value"]
        for row in rows
        if row["metric"] == "notebook" and row["phase"] == path.stem[:2]
    )
    assert 0.6 * took < seconds(times["laptop"]) < 1.6 * took, f"it took {took:.0f} s"


def test_the_guide_says_the_same_times(repo):
    guide = (repo / "GUIDE.md").read_text(encoding="utf-8")
    times = [minutes(path) for path in sorted((repo / "notebooks").glob("*.ipynb"))]
    for preset in PRESETS:
        every = sorted((time[preset] for time in times), key=seconds)
        (row,) = re.findall(rf"^\| `{preset}` \|.*", guide, re.M)
        assert f"| {every[0]} to {every[-1]} " in row, row
    total = sum(seconds(time["smoke"]) for time in times)
    assert "`PRESET=smoke`: in about three minutes" in guide and 120 < total < 240


def test_parameters_are_literals_with_a_comment(nb, path):
    source = next(c.source for c in nb.cells if "parameters" in c.metadata.get("tags", []))
    for line in source.splitlines():
        assert re.fullmatch(r"#.*|\w+(: [\w| \[\],]+)? = [^#]+  # \S.*", line), line
    assert len(parameters(path)) == len(ast.parse(source).body)
    assert parameters(path)["preset"] == ("laptop", ["str"])


def test_links_lead_somewhere(nb, path):
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", cell.source):
                assert (path.parent / target).exists(), target


# --- what is made from them ---


def test_widgets_are_those_that_the_notebooks_name(repo):
    """Clones stay small: all files of widgets together have a limit, too."""
    folder = repo / "notebooks"
    named = set()
    for path in folder.glob("*.ipynb"):
        for output in outputs(nbformat.read(path, as_version=4)):
            if KEY in output.get("metadata", {}):
                named.add(folder / output.metadata[KEY].file)
    saved = set((folder / FOLDER).glob("*"))
    assert saved == named, "run: python -m eon_utils notebooks --clean-only"
    assert sum(file.stat().st_size for file in saved) <= ALL_BYTES


def test_screenshots_are_those_of_the_notebooks(repo):
    folder = repo / "notebooks"
    named = {}
    for path in folder.glob("*.ipynb"):
        for output in images(nbformat.read(path, as_version=4)):
            if name := output.metadata.get("screenshot"):
                file = f"{name}{SUFFIXES[kind_of(output)]}"
                assert file not in named, f"two outputs are named {name}"
                named[file] = picture_of(output)
    stills = pictures.stills(repo / "screenshots").values()
    saved = {path.name: path.read_bytes() for path in stills}
    assert saved == named, "run: make screenshots"


@pytest.fixture
def ledger(repo):
    return read_ledger(repo / "data" / "ledger.json")


def test_small_pictures_are_parts_of_the_screenshots(repo):
    saved = pictures.stills(repo / "screenshots")
    small = pictures.stills(repo / pictures.SMALL)
    for lesson, (name, places) in pictures.PARTS.items():
        part = pictures.small_picture(saved[name], places)
        assert part == small[lesson].read_bytes(), "run: make screenshots"


def test_a_scrubber_moves_in_the_readme(repo):
    path = repo / "screenshots" / f"{pictures.MOVING}.webp"
    assert f"screenshots/{path.name}" in (repo / "README.md").read_text(encoding="utf-8")
    assert path.stat().st_size <= 1_000_000
    with Image.open(path) as moving:
        assert moving.n_frames > 20 and moving.info["loop"] == 0
        moving.seek(0)
        first = moving.convert("RGBA")
        assert first.getpixel((0, first.height - 1))[3] == 0, "nothing is behind it"
        moving.seek(moving.n_frames - 1)
        assert moving.convert("RGBA").tobytes() != first.tobytes()


def test_the_readmes_tables_are_those_of_the_ledger(repo, ledger):
    text = (repo / "README.md").read_text(encoding="utf-8")
    parts = {
        "lessons": pages.lesson_table(repo, ledger),
        "numbers": pages.headline_table(repo, ledger),
    }
    for name, part in parts.items():
        assert f"<!-- {name}:begin -->\n{part}\n<!-- {name}:end -->" in text, (
            "run: make screenshots"
        )
    for path, line in zip(pages.lessons(repo), parts["lessons"].splitlines()[2:], strict=True):
        assert path.name in line and "<img" in line and re.search(r"\? \| \d+\.\d \|$", line)
    assert len(parts["numbers"].splitlines()) == 2 + len(pages.HEADLINES), "a value has no name"
    assert 2 * len(pages.HEADLINES) <= 10, "the door shows ten numbers"


def test_results_are_those_of_the_ledger(repo, ledger):
    text = (repo / "RESULTS.md").read_text(encoding="utf-8")
    for name, part in pages.result_tables(ledger).items():
        if part:
            place = f"<!-- {name}:begin -->\n{part}\n<!-- {name}:end -->"
            assert place in text, "run: make screenshots; a new phase needs a place in RESULTS.md"


@pytest.mark.parametrize("name", ["README.md", "RESULTS.md", "GUIDE.md", "CONTRIBUTING.md"])
def test_links_of_pages_lead_somewhere(repo, name):
    text = (repo / name).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    for target in re.findall(r'(?:\]\(|src=")(?![a-z]+:)([^)"\s]+)', prose):
        path, _, anchor = target.partition("#")
        page = repo / path if path else repo / name
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
            known = [re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings]
            assert anchor in known, target


# --- running them ---


@pytest.mark.notebook
def test_says_at_smoke_what_it_said(nb, tmp_path):
    for cell in nb.cells:
        if "parameters" in cell.metadata.get("tags", []):
            assert 'preset = "laptop"' in cell.source
            cell.source = cell.source.replace('preset = "laptop"', 'preset = "smoke"')
    nbformat.write(nb, tmp_path / "smoke.ipynb")
    (tmp_path / "sanitize.cfg").write_text(SANITIZE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = "--nbval-lax --nbval-current-env --nbval-sanitize-with sanitize.cfg smoke.ipynb -q"
    command = [sys.executable, "-m", "pytest", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.notebook
def test_takes_other_parameters_and_own_pictures(path, tmp_path):
    mine = tmp_path / "my pictures"
    mine.mkdir()
    for name, colour in (("sea", "teal"), ("sand", "khaki")):
        fractal = Image.effect_mandelbrot((300, 200), (-2, -1.2, 0.8, 1.2), 30).convert("RGB")
        fractal.save(mine / f"{name}.png")
        Image.new("RGB", (200, 300), colour).save(mine / f"{name}_plain.jpg")
    films = tmp_path / "my films"
    films.mkdir()
    frames = [fractal.rotate(4 * i) for i in range(30)]
    frames[0].save(films / "turn.gif", save_all=True, append_images=frames[1:], duration=80)
    for folder in (mine, films):
        (folder / "notes.txt").write_text("no picture")
    known = parameters(path)
    given = {"seed": 3, "steps": 12, "images": str(mine), "videos": str(films)}
    given = {name: value for name, value in given.items() if name in known}
    ran = papermill.execute_notebook(
        path,
        tmp_path / "out.ipynb",
        {"preset": "smoke", **given},
        cwd=path.parent,
        progress_bar=False,
    )
    said = printed(ran)
    assert re.search(r"\bseed\W+3\b", said), "the resolved seed is not printed"
    if "steps" in given:
        assert re.search(r"\bsteps\W+12\b", said), "the resolved steps are not printed"
    assert "notes.txt" in said, "what was skipped is not named"
    assert "not with these parameters" in said


@pytest.mark.notebook
def test_refuses_an_unknown_preset_by_itself(path, tmp_path):
    with pytest.raises(PapermillExecutionError) as raised:
        papermill.execute_notebook(
            path, tmp_path / "out.ipynb", {"preset": "huge"}, cwd=path.parent, progress_bar=False
        )
    assert "huge" in raised.value.evalue and "smoke, laptop, full" in raised.value.evalue
