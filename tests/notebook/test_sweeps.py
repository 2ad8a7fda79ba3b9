"""The table of a sweep, read and drawn."""

import re
import statistics

import pytest
from matplotlib import pyplot as plt

import eon_utils as eon
from eon_utils.notebook.sweeps import sweep_figure


def table(**columns):
    """A table as `read_sweep` gives it, of runs with these parameters and psnr."""
    psnr = columns.pop("psnr")
    rows = []
    for index, value in enumerate(psnr):
        row = {"run": str(index)} | {name: values[index] for name, values in columns.items()}
        rows.append(row | {"status": "ok", "V1 / psnr [dB]": value, "claim: a / b": True})
    return rows


def test_the_figure_shows_mean_spread_and_runs():
    rows = table(noise=[0, 0, 1, 1, 1], seed=[0, 1, 0, 1, 2], psnr=[10, 12, 20, 23, None])
    fig = sweep_figure(rows, "V1 / psnr", "noise")
    (ax,) = [ax for ax in fig.axes if ax.get_visible()]
    *dots, mean = ax.get_lines()
    assert mean.get_xydata().tolist() == [[0, 11], [1, 21.5]]
    assert [list(line.get_ydata()) for line in dots] == [[10, 12], [20, 23]]
    (band,) = ax.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(21.5 + 1.5 * 2**0.5)  # of a sample of 20 and 23
    assert ax.get_ylabel() == "psnr [dB]" and ax.get_xlabel() == "noise"
    assert "mean of 2 seeds" in fig.get_supxlabel()
    plt.close(fig)


def test_what_differs_besides_is_another_line_and_words_stand_in_order():
    rows = table(preset=["smoke", "laptop"] * 2, noise=[0, 0, 0.5, 0.5], psnr=[1, 2, 3, 4])
    fig = sweep_figure(rows, ["V1 / psnr [dB]"], "preset")
    (ax,) = [ax for ax in fig.axes if ax.get_visible()]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["smoke", "laptop"]
    assert {text.get_text() for text in ax.texts} == {"V1, noise=0", "V1, noise=0.5"}
    assert fig.get_supxlabel() == "single runs"
    plt.close(fig)


@pytest.mark.parametrize(
    ("value", "over", "said"),
    [
        ("V1 / ssim", "noise", "no value 'V1 / ssim'; there are: V1 / psnr"),
        ("claim: a / b", "noise", "there are: V1 / psnr"),
        ("V1 / psnr", "lr", "no parameter 'lr'; there are: noise"),
        ("V1 / psnr", "noise", "no run of this sweep reached V1 / psnr"),
    ],
)
def test_an_unknown_name_gets_those_that_there_are(value, over, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        sweep_figure(table(noise=[0, 1], psnr=[None, None]), value, over)


def test_a_table_is_read_with_its_types(tmp_path):
    path = tmp_path / "sweep.csv"
    head = "run,noise,size,resume,status,V1 / psnr [dB],claim: a / b,error"
    path.write_text(f'{head}\n1,0.5,"[64, 48]",True,ok,inf,False,\n2,0.5,,False,failed,,,"a\nb"\n')
    assert eon.read_sweep(path) == [
        {
            **{"run": 1, "noise": 0.5, "size": [64, 48], "resume": True, "status": "ok"},
            **{"V1 / psnr [dB]": float("inf"), "claim: a / b": False, "error": None},
        },
        {
            **{"run": 2, "noise": 0.5, "size": None, "resume": False, "status": "failed"},
            **{"V1 / psnr [dB]": None, "claim: a / b": None, "error": "a\nb"},
        },
    ]
    with pytest.raises(FileNotFoundError, match="give the sweep"):
        eon.read_sweep(tmp_path / "none.csv")


def test_the_committed_sweep_is_found_and_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = eon.read_sweep("noise_sweep.csv")
    asked = {(noise, seed) for noise in (0, 0.1, 0.25, 0.5) for seed in range(5)}
    assert {(row["noise"], row["seed"]) for row in rows} == asked and len(rows) == 20
    assert all(row["preset"] == "smoke" and row["status"] == "ok" for row in rows)


def test_the_note_of_the_committed_sweep_says_what_its_table_says(repo):
    note = (repo / "data" / "noise_sweep.md").read_text(encoding="utf-8")
    rows = eon.read_sweep("noise_sweep.csv")
    for noise in (0, 0.1, 0.25, 0.5):
        cells = [f"{noise:g}"]
        for title in ("silenced code [points]", "accuracy [%]"):
            for model in ("V3", "V4"):
                values = [row[f"{model} / {title}"] for row in rows if row["noise"] == noise]
                cells.append(f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}")
        assert f"| {' | '.join(cells)} |" in note
