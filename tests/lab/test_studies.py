"""The lab's studies: which cells they have, and that every row of every study can be run."""

from __future__ import annotations

import dataclasses
import json
from html import unescape
from itertools import product
from pathlib import Path

import pytest

from isogloss.cli import lab
from isogloss.cli.main import main
from isogloss.lab import studying
from isogloss.lab.shipped import DIALS, shipped
from isogloss.lab.studies import STUDIES, Study
from isogloss.lab.studying import SEEDS, StudyPlan, study
from isogloss.lab.tasks import TaskSizes

SIZES = TaskSizes(40, 40, 4)


@pytest.fixture
def unrun(monkeypatch):
    """Cells are planned and written, and none is carried out."""
    monkeypatch.setattr(studying, "run_jobs", lambda *_, **__: None)


@pytest.mark.parametrize("name", STUDIES)
def test_the_cells_are_what_the_study_says(name: str, unrun: None, tmp_path: Path) -> None:
    """Every model with every share, row and seed, once; a whole table with the first seed first."""
    chosen = STUDIES[name]
    made = study(name, StudyPlan(sizes=SIZES), tmp_path)
    cells = [result.cell for result in made.results]
    wanted = [
        (seed, str(shipped(dial)), share, row.label)
        for seed, dial, share, row in product(SEEDS, chosen.dials, chosen.shares, chosen.rows)
    ]
    assert [(cell.seed, cell.model, cell.share, cell.row) for cell in cells] == wanted
    assert len({cell.key for cell in cells}) == len(cells)
    kept = json.loads((tmp_path / "grid.json").read_text(encoding="utf-8"))
    assert [cell["key"] for cell in kept["cells"]] == [cell.key for cell in cells]
    rows = {row.label: row for row in chosen.rows}
    for cell in cells:
        assert cell.train["method"] == rows[cell.row].method
        assert rows[cell.row].train.items() <= cell.train.items()
        assert cell.train.get("match_steps", False) == chosen.matched
        assert (cell.language, Path(cell.task).name) == ("b", "label")


def test_the_numbers_of_cells() -> None:
    """Ten seeds; 3 dials and 1 share but for Fig. 5 and the demonstrations, at the middle dial."""
    sizes = {
        name: (len(one.rows), len(one.dials), len(one.shares)) for name, one in STUDIES.items()
    }
    assert sizes == {
        "table2": (8, 3, 1),
        "fig2c": (3, 3, 1),
        "fig5": (4, 1, 4),
        "demonstrations": (8, 1, 1),
    }
    assert len(SEEDS) == 10
    for one in STUDIES.values():
        assert set(one.dials) <= set(DIALS)
        assert one.baseline in [row.label for row in one.rows]


def test_a_part_of_a_study(unrun: None, tmp_path: Path) -> None:
    """Models, rows, shares and seeds that are named, each once, in the study's order of rows."""
    plan = StudyPlan(
        models=("high", "low", "high"),
        rows=("FT", "Direct transfer"),
        shares=(0.5, 1.0, 0.5),
        seeds=(7, 3, 7),
        sizes=SIZES,
    )
    made = study("table2", plan, tmp_path)
    cells = [result.cell for result in made.results]
    assert [(cell.seed, Path(cell.model).name, cell.share, cell.row) for cell in cells] == list(
        product((7, 3), ("high", "low"), (0.5, 1.0), ("Direct transfer", "FT"))
    )
    assert made.experiment.shares == (0.5, 1.0)


@pytest.fixture
def short(monkeypatch):
    """Every study with one pass over few items for its own, and its least share alone."""

    def shortened(one: Study) -> Study:
        rows = tuple(
            dataclasses.replace(row, train={**row.train, "epochs": 1})
            if "epochs" in row.train
            else row
            for row in one.rows
        )
        return dataclasses.replace(one, rows=rows, shares=one.shares[:1])

    few = {name: shortened(one) for name, one in STUDIES.items()}
    monkeypatch.setattr(studying, "STUDIES", few)
    monkeypatch.setattr(lab, "TaskSizes", lambda test_items: TaskSizes(40, 40, test_items))


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_can_be_run(name: str, short: None, tmp_path: Path, capsys) -> None:
    chosen = studying.STUDIES[name]
    line = ["lab", name, "--task", "label", "--models", "middle", "--seeds", "42"]
    line += ["--test-items", "4", "--out", str(tmp_path)]
    assert main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {cell.get("error") for cell in found["cells"]} == {None}
    assert [cell["row"] for cell in found["cells"]] == [row.label for row in chosen.rows]
    assert {cell["state"] for cell in found["cells"]} == {"done"}
    assert found["experiment"] == f"lab {name}"
    assert ("correlations" in found) == (name == "fig2c")
    page = unescape(Path(found["report"]).read_text(encoding="utf-8"))
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert f"{chosen.title} (Section {chosen.section}), task label" in shown
    for word in (chosen.title, *(row.label for row in chosen.rows)):
        assert word in page
        assert word in shown
