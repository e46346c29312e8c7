"""Tables: what stands in a cell, and that nothing is marked which a test does not carry."""

from __future__ import annotations

import random

import pytest

from isogloss.errors import ConfigError
from isogloss.gathering.folders import gather
from isogloss.gathering.grid import Gathered
from isogloss.reporting.comparisons import AVERAGE, LEVEL, Column, Line
from isogloss.reporting.layout import check_baseline, connected
from isogloss.reporting.tables import Table, score_table
from isogloss.statistics import holm, paired_tests
from report_runs import first_of, write_grid, write_run

TR, ES = Column("parity", "tr", "accuracy"), Column("parity", "es", "accuracy")
MEAN = Column("parity", AVERAGE, "accuracy")


def answers(share: float, items: int = 60, seed: int = 0) -> list[bool]:
    """Right and wrong answers, right for about this share of the items."""
    source = random.Random(seed)
    return [source.random() < share for _ in range(items)]


def table_of(root, **options) -> Table:
    table = score_table(gather([root]), **options)
    assert table is not None
    return table


def parts_of(gathered: Gathered, line: Line, column: Column):
    """A cell's values, found the slow way."""
    languages = ["tr", "es"] if column.language == AVERAGE else [column.language]
    return [
        {
            o.place.seed: o.values[column.metric]
            for o in gathered.outcomes
            if (o.place.row, o.place.language) == (line.row, language)
        }
        for language in languages
    ]


@pytest.mark.parametrize("case", range(8))
def test_nothing_is_marked_that_a_test_does_not_carry(case, tmp_path):
    """Random systems: every mark is one that tests made again, one by one, carry after Holm."""
    source = random.Random(case)
    methods = ("mtl", "ft", "tl", "cl-icp")
    for method in methods:
        level = source.choice((0.2, 0.5, 0.55, 0.9, 0.99))
        for language in ("tr", "es"):
            for seed in (1, 2):
                right = answers(level, seed=source.randrange(10**6))
                write_run(tmp_path, method, seed=seed, target=language, right=right)
    gathered = gather([tmp_path])
    table = score_table(gathered)
    assert table is not None
    bold = 0
    family = [c for c in table.comparisons if c.question == "rank"]
    assert holm([c.test.p for c in family]) == [c.adjusted for c in family]
    adjusted = {(c.column, c.line, c.against): c for c in family}
    for (line, column), cell in table.cells.items():
        others = [each for each in table.lines if each != line]
        means = {each: table.cells[each, column].estimate.value for each in table.lines}
        if cell.rank == "first":
            bold += 1
            for other in others:
                assert means[line] > means[other]
                found = adjusted[column, line, other]
                systems = [parts_of(gathered, each, column) for each in (line, other)]
                (again,) = paired_tests(systems, [(0, 1)], seed=0)
                assert again.difference == pytest.approx(found.test.difference)
                assert again.p == pytest.approx(found.test.p, abs=0.001)
                assert again.p <= found.adjusted < LEVEL
        if cell.rank == "second":
            ranks = [table.cells[each, column].rank for each in table.lines]
            assert ranks.count("first") == 1
            below = [each for each in others if table.cells[each, column].rank != "first"]
            for other in below:
                assert adjusted[column, line, other].adjusted < LEVEL
    print(f"{bold} bold cells")


def test_a_clear_best_is_bold_and_a_clear_second_underlined(tmp_path):
    for method, right in (("cl-icp", 58), ("mtl", 40), ("ft", 8)):
        write_run(tmp_path, method, right=first_of(right))
    table = table_of(tmp_path)
    ranks = {line.row: table.cells[line, TR].rank for line in table.lines}
    assert ranks == {"cl-icp": "first", "mtl": "second", "ft": None}


def test_one_rival_that_no_test_tells_apart_keeps_the_best_from_being_bold(tmp_path):
    for method, right in (("cl-icp", 58), ("mtl", 56), ("ft", 8)):
        write_run(tmp_path, method, right=first_of(right))
    table = table_of(tmp_path)
    assert {table.cells[line, TR].rank for line in table.lines} == {None}
    cell = table.cells[Line("tiny", "ft", "tiny"), TR]
    assert cell.baseline is not None
    assert cell.baseline.worse


def test_rows_are_tested_against_the_baseline_and_cl_icp_against_the_best_other_row(tmp_path):
    for method, right in (("cl-icp", 50), ("mtl", 20), ("ft", 30)):
        write_run(tmp_path, method, right=first_of(right))
    table = table_of(tmp_path)
    cells = {line.row: table.cells[line, TR] for line in table.lines}
    assert cells["mtl"].baseline is None
    assert cells["ft"].baseline.against.row == "mtl"
    assert cells["ft"].best_baseline is None
    assert cells["cl-icp"].best_baseline.against.row == "ft"
    assert cells["cl-icp"].best_baseline.test.difference == pytest.approx(20 / 60)
    other = {line.row: c for (line, _), c in table_of(tmp_path, baseline="ft").cells.items()}
    assert other["mtl"].baseline.against.row == "ft"


def test_means_are_over_seeds_and_averages_over_whole_languages(tmp_path):
    for seed, right in ((1, 30), (2, 60)):
        write_run(tmp_path, "mtl", seed=seed, right=first_of(right))
        write_run(tmp_path, "mtl", seed=seed, right=first_of(15), target="es")
        write_run(tmp_path, "ft", seed=seed, right=first_of(15))
    write_run(tmp_path, "tl", seed=1, right=first_of(15))
    write_run(tmp_path, "tl", seed=2, right=first_of(15), target="es")
    table = table_of(tmp_path)
    mtl, ft, tl = (Line("tiny", row, "tiny") for row in ("mtl", "ft", "tl"))
    assert table.cells[mtl, TR].estimate.value == 0.75
    assert table.cells[mtl, TR].estimate.by_seed == {1: 0.5, 2: 1.0}
    assert table.cells[mtl, MEAN].estimate.value == 0.5
    assert (table.cells[ft, ES].state, table.cells[ft, MEAN].state) == ("not run", "incomplete")
    assert table.cells[tl, MEAN].state == "incomplete"  # its languages have other seeds
    assert {c.line for c in table.comparisons if c.column == MEAN} == set()


def test_other_metrics_have_a_table_of_their_own(tmp_path):
    values = {f"i{number}": number / 60 for number in range(60)}
    write_run(tmp_path, "mtl", right=first_of(30), extra={"f1": values})
    found = table_of(tmp_path, main=False)
    assert [column.metric for column in found.columns] == ["f1"]
    (cell,) = found.cells.values()
    assert cell.estimate.value == pytest.approx(sum(values.values()) / 60)
    assert [column.metric for column in table_of(tmp_path).columns] == ["accuracy"]
    write_run(tmp_path / "plain", "mtl")
    assert score_table(gather([tmp_path / "plain"]), main=False) is None


def test_shares_are_groups_with_baselines_of_their_own(tmp_path):
    for share in (0.1, 1.0):
        for method in ("mtl", "cl-icp"):
            write_run(tmp_path, method, share=share)
    table = table_of(tmp_path)
    assert list(table.groups()) == ["tiny, 100% of D_t", "tiny, 10% of D_t"]
    assert all(c.line.share == c.against.share for c in table.comparisons)


def test_failed_and_planned_cells_stand_in_the_grids_order(tmp_path):
    run = write_run(tmp_path / "runs", "mtl")
    cells = [
        ({"row": "CL-ICP"}, None),
        ({"row": "TL"}, {"state": "failed", "error": "out of memory"}),
        ({"row": "MTL"}, {"state": "done", "run": f"../runs/{run.name}"}),
        ({"row": "MTL", "seed": 43}, {"state": "failed", "error": "no room"}),
    ]
    table = table_of(write_grid(tmp_path / "grid", cells))
    assert [line.row for line in table.lines] == ["CL-ICP", "TL", "MTL"]
    found = {line.row: table.cells[line, TR] for line in table.lines}
    assert {row: cell.state for row, cell in found.items()} == {
        "CL-ICP": "not run",
        "TL": "failed",
        "MTL": "done",
    }
    assert found["TL"].reasons == ("tr, seed 42: out of memory",)
    assert found["MTL"].reasons == ("tr, seed 43: no room",)


def test_a_grid_in_which_all_failed_is_still_a_table(tmp_path):
    cells = [({"row": "TL"}, {"state": "failed", "error": "out of memory"})]
    table = table_of(write_grid(tmp_path / "grid", cells))
    assert [cell.state for cell in table.cells.values()] == ["failed"]


def test_published_numbers_stand_beside_ours(tmp_path):
    write_run(tmp_path, "mtl")
    published = {("tiny", "mtl", "parity", "tr", "accuracy"): 65.4}
    (cell,) = table_of(tmp_path, published=published).cells.values()
    assert cell.published == 65.4


def test_a_baseline_may_be_named_by_its_method_and_its_lack_is_said(tmp_path):
    run = write_run(tmp_path / "runs", "mtl")
    other = write_run(tmp_path / "runs", "cl-icp")
    cells = [
        ({"row": "Both"}, {"state": "done", "run": f"../runs/{run.name}"}),
        ({"row": "Ours"}, {"state": "done", "run": f"../runs/{other.name}"}),
    ]
    table = table_of(write_grid(tmp_path / "grid", cells))
    assert {c.against.row for c in table.comparisons if c.question == "baseline"} == {"Both"}
    alone = table_of(write_run(tmp_path / "alone", "cl-icp").parent)
    assert alone.notes == ("tiny: no row 'mtl' to test the others against",)
    with pytest.raises(ConfigError, match="no row 'mlt' to test against; there is Both, Ours"):
        check_baseline(gather([tmp_path / "grid"]), "mlt")


def test_runs_with_nothing_in_common_are_apart(tmp_path):
    write_run(tmp_path, "mtl", model="one", task="x")
    write_run(tmp_path, "mtl", model="two", task="y")
    write_run(tmp_path, "ft", model="two", task="z")
    write_run(tmp_path, "cl-icp", model="three", task="z")
    parts = connected(gather([tmp_path]))
    assert sorted(sorted({o.place.task for o in p.outcomes}) for p in parts) == [["x"], ["y", "z"]]
