"""An experiment's table: its own rows in their order, with the paper's numbers beside."""

from __future__ import annotations

import json

import pytest

from isogloss.cli.main import main
from isogloss.experiments.published_numbers import LLAMA, QWEN, printed_beside
from isogloss.experiments.registry import EXPERIMENTS
from isogloss.experiments.reproducing import reproduce
from isogloss.experiments.tabling import tables_of
from isogloss.reporting.comparisons import Column
from isogloss.settings import ReproduceSettings

TABLE2 = EXPERIMENTS["table2"]


@pytest.mark.parametrize(
    ("model", "beside"),
    [("Qwen2.5-7B-Instruct", QWEN), ("Llama-3.1-8B", LLAMA), ("gemma-3-270m", LLAMA)],
)
def test_a_model_stands_beside_the_paper_model_of_its_name(model, beside):
    found = printed_beside(model, TABLE2.published, TABLE2.averages)
    assert len(found) == 6 * (16 + 4)
    assert {one["model"] for one in found} == {model}
    by_place = {(o["row"], o["task"], o["language"], o["metric"]): o["percent"] for o in found}
    place = ("CL-ICP", "xcopa", "tr", "accuracy")
    assert by_place[place] == TABLE2.published[(beside, *place)]
    average = by_place["MTL", "xquad", "average", "f1"]
    assert average == TABLE2.averages[beside, "MTL", "xquad", "f1"]


def test_tables_that_only_one_model_has_stand_beside_any():
    table3 = EXPERIMENTS["table3"]
    assert len(printed_beside("Qwen2.5-7B", table3.published, table3.averages)) == 4 * 5
    figure = EXPERIMENTS["fig5"]
    assert printed_beside("m", figure.published, figure.averages) == []


def test_the_table_of_a_grid(real_data, model_folder, tmp_path, capsys):
    out = tmp_path / "grid"
    given = {"models": (str(model_folder("llama")),), "data": str(real_data), "limit": 6}
    settings = ReproduceSettings(
        "table2",
        **given,
        epochs=1,
        tasks=("xcopa",),
        targets=("tr",),
        out=out,
        rows=("MTL", "ShifCon", "CL-ICP"),
    )
    (table,) = tables_of(reproduce(settings))
    column = Column("xcopa", "tr", "accuracy")
    assert [line.row for line in table.lines] == ["MTL", "ShifCon", "CL-ICP"]
    cells = {line.row: table.cells[line, column] for line in table.lines}
    assert [cells[row].published for row in cells] == [65.4, 65.7, 77.9]
    assert cells["ShifCon"].state == "failed"
    assert "needs translation pairs" in cells["ShifCon"].reasons[0]
    assert cells["CL-ICP"].estimate.items == 6
    assert {c.question for c in table.comparisons} >= {"baseline", "rank"}

    line = ["reproduce", "table2", "--models", given["models"][0], "--data", str(real_data)]
    line += ["--tasks", "xcopa", "--targets", "tr", "--limit", "6", "--epochs", "1"]
    assert main([*line, "--rows", "MTL", "CL-ICP", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "(77.9)" in shown
    assert "2 cells: 2 done, 0 failed, 0 left" in shown
    assert main(["report", str(out), "--out", str(tmp_path / "report")]) == 0
    numbers = json.loads((tmp_path / "report" / "report.json").read_text())
    cells = numbers["tables"]["scores"]["cells"]
    assert {cell["system"]: cell["published"] for cell in cells}["CL-ICP"] == pytest.approx(0.779)
