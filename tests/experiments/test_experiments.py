"""The paper's tables as transcribed, with their averages, and the settings of every row."""

from __future__ import annotations

from collections import defaultdict

import pytest

from isogloss.errors import ConfigError
from isogloss.experiments.grid import SCALES, Cell, Choice, cells_of
from isogloss.experiments.published_numbers import LLAMA, QWEN
from isogloss.experiments.registry import EXPERIMENTS, experiment
from isogloss.settings import EvaluateSettings, TrainSettings, settings_from
from isogloss.settling import settle_method
from isogloss.tasks.benchmarks import BenchmarkSettings, load_benchmark

# Models times rows times (4 XQuAD languages with 2 metrics, 4 of XCOPA, 4 of XNLI).
COUNTS = {"table2": 2 * 6 * 16, "table3": 4 * 4, "table4": 5 * 4, "table5": 4 * 4, "table6": 4 * 16}
FIGURES = ("fig3", "fig5", "fig6")


def test_there_are_all_tables_and_figures_of_runs():
    assert sorted(EXPERIMENTS) == sorted([*COUNTS, *FIGURES])


@pytest.mark.parametrize("name", COUNTS)
def test_the_printed_averages_are_those_of_the_cells(name):
    made, groups, seen = EXPERIMENTS[name], defaultdict(list), 0
    for (model, row, task, _, metric), score in made.published.items():
        groups[model, row, task, metric].append(score)
        seen += 1
    assert seen == COUNTS[name]
    assert groups.keys() == made.averages.keys()
    for place, scores in groups.items():
        assert len(scores) == 4
        # The cells are rounded to a tenth, and so is the average.
        assert made.averages[place] == pytest.approx(sum(scores) / 4, abs=0.1 + 1e-9), place


@pytest.mark.parametrize("name", FIGURES)
def test_figures_have_no_printed_numbers(name):
    assert EXPERIMENTS[name].published == {}


def test_some_cells_by_eye():
    table2, table5 = EXPERIMENTS["table2"].published, EXPERIMENTS["table5"].published
    assert table2[LLAMA, "Direct transfer", "xquad", "zh", "exact_match"] == 58.0
    assert table2[LLAMA, "CL-ICP (S)", "xquad", "el", "f1"] == 67.0
    assert table2[QWEN, "ShifCon", "xnli", "sw", "accuracy"] == 51.4
    assert table2[QWEN, "CL-ICP", "xcopa", "qu", "accuracy"] == 54.0
    assert table5[LLAMA, "LoRA CL-ICT", "xcopa", "sw", "accuracy"] == 63.3
    off = EXPERIMENTS["table6"].published
    assert off[LLAMA, "CL-ICP (S) - Demotrain", "xquad", "tr", "exact_match"] == 31.4


def test_the_same_row_in_two_tables_has_the_same_numbers():
    two, six = EXPERIMENTS["table2"].published, EXPERIMENTS["table6"].published
    same = [place for place in six if place in two]
    assert len(same) == 32
    assert all(two[place] == six[place] for place in same)


def cells(name: str, scale: str = "paper", **choice) -> list[Cell]:
    return cells_of(EXPERIMENTS[name], SCALES[scale], Choice(("m",), **choice))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("table2", 6 * 12 * 3),
        ("table3", 4 * 4 * 3),
        ("table4", 5 * 4 * 3),
        ("table5", 4 * 4 * 3),
        ("table6", 4 * 12 * 3),
        ("fig3", 4 * 12 * 3),
        ("fig5", 4 * 12 * 5 * 3),
        ("fig6", 2 * 4 * 5 * 3),
    ],
)
def test_as_many_cells_as_rows_languages_shares_and_seeds(name, count):
    made = cells(name)
    assert len(made) == count
    assert len({cell.key for cell in made}) == count


def settled(name: str, row: str, task: str):
    """The method that a cell at the paper's scale comes to."""
    (cell,) = cells(name, tasks=(task,), rows=(row,), seeds=(42,), targets=("tr",))[:1]
    given = {"model": "m", "task": task, "target": "tr", **cell.train}
    assert settings_from(EvaluateSettings, {"run": "r", **cell.evaluate})
    made = load_benchmark(task, folder=None, hub=True, settings=BenchmarkSettings())
    return settle_method(settings_from(TrainSettings, given), made)


@pytest.mark.parametrize(
    ("name", "row", "task", "rate", "epochs", "batch", "k"),
    [
        ("table2", "TL", "xquad", 2e-6, (1, 1), 4, 0),
        ("table2", "MTL", "xnli", 2e-6, (3,), 4, 0),
        ("table2", "ShifCon", "xcopa", 2e-6, (4,), 4, 0),
        ("table2", "CL-ICP", "xquad", 1e-3, (5,), 4, 1),
        ("table2", "CL-ICP (S)", "xnli", 1e-3, (20,), 4, 3),
        ("table3", "Target, 3", "xcopa", 1e-3, (20,), 4, 3),
        ("table5", "LoRA CL-ICT", "xcopa", 2e-4, (3,), 8, 3),
        ("table5", "PT MTL", "xcopa", 1e-3, (20,), 4, 0),
        ("table6", "CL-ICP (S) - Demotrain", "xquad", 1e-3, (5,), 4, 1),
        ("fig6", "CL-ICT", "xcopa", 2e-6, (3,), 4, 3),
    ],
)
def test_the_papers_scale_is_appendix_b2(name, row, task, rate, epochs, batch, k):
    made = settled(name, row, task)
    assert {stage.learning_rate for stage in made.stages} == {rate}
    assert tuple(stage.epochs for stage in made.stages) == epochs
    assert (made.batch_size, made.context.count) == (batch, k)
    if k:
        assert made.context.share == 1
    assert (made.loss.demonstrations == "off") == ("Demotrain" in row or k == 0)


def test_every_cell_of_every_scale_has_settings_that_hold():
    seen = 0
    for name, made in EXPERIMENTS.items():
        for scale in SCALES:
            for task in made.languages:
                for row in made.rows:
                    assert cells(name, scale, tasks=(task,), rows=(row.label,))
                    settled(name, row.label, task)
                    seen += 1
    assert seen == 3 * (3 * (6 + 4 + 4 + 4) + 4 + 5 + 4 + 2)


def test_cells_with_one_training_run_know_it():
    table4 = cells("table4", seeds=(42,), targets=("tr",))
    assert len(table4) == 5
    assert len({cell.training for cell in table4}) == 3
    assert len({cell.training for cell in cells("table6", seeds=(42,), targets=("el",))}) == 8
    three = cells("table3", seeds=(42,), targets=("tr",))
    assert len({cell.training for cell in three}) == 4


def test_a_smoke_run_is_small():
    for cell in cells("table2", "smoke"):
        assert cell.train["limit"] == 100
        assert cell.train["epochs"] == 3
        assert cell.seed == 42
    assert all("epochs" not in cell.train for cell in cells("fig3", "smoke"))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"tasks": ("xcpoa",)}, "no task in table3 'xcpoa'; there is xcopa; did you mean 'xcopa'?"),
        ({"targets": ("de",)}, "no target language in table3 'de'; there is qu, sw, tr, zh"),
        ({"rows": ("Mixed, 5",)}, "no row in table3 'Mixed, 5'"),
    ],
)
def test_what_an_experiment_does_not_have_is_refused(choice, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        cells("table3", **choice)


def test_unknown_experiments_and_no_models_are_refused():
    with pytest.raises(ConfigError, match="no experiment 'tabel2'.*did you mean 'table2'"):
        experiment("tabel2")
    with pytest.raises(ConfigError, match="no model to run: give --models"):
        cells_of(EXPERIMENTS["table3"], SCALES["smoke"], Choice(()))
