"""Tables of measured values."""

from eon_utils.course.ledger import LINES, dense_tables, read_ledger


def row(model, metric, value=1.0):
    return {"phase": "01", "model": model, "metric": metric, "value": value, "unit": "dB"}


def test_tables_of_the_ledger_have_no_empty_cell_and_lose_no_value(repo):
    rows = read_ledger(repo / "data" / "ledger.json")
    for phase in {row["phase"] for row in rows}:
        measured = [row for row in rows if row["phase"] == phase and row["metric"] != "notebook"]
        tables = dense_tables(measured)
        cells = 0
        for table in tables:
            assert len({len(line) for line in table}) == 1 and len(table) <= LINES + 1
            *whole, last = table
            assert all(cell for line in whole for cell in line)
            width = table[0][1:].index("model") + 1 if "model" in table[0][1:] else len(table[0])
            filled = [cell for line in [*whole[1:], last] for cell in line if cell]
            cells += len(filled) * (width - 1) // width
        assert cells == len({(row["model"], row["metric"]) for row in measured}), phase


def test_metrics_of_the_same_models_share_a_table():
    rows = [row(model, metric) for model in "ab" for metric in ("psnr", "gain")]
    rows += [row("b", "rate")]
    titles = [table[0] for table in dense_tables(rows)]
    assert titles == [["model", "PSNR (dB)", "gain (dB)"], ["model", "rate (dB)"]]


def test_a_long_table_goes_on_to_the_right():
    (table,) = dense_tables([row(f"m{i}", "psnr") for i in range(2 * LINES - 1)])
    assert len(table) == LINES + 1 and table[0] == ["model", "PSNR (dB)"] * 2
    assert [line[0] for line in table[1:3]] == ["m0", "m1"]
    assert table[1][2] == f"m{LINES}" and table[-1][2:] == ["", ""]
