"""Fig. 2c in the lab as a user gives it: its cells, files and numbers, and going on with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from isogloss.cli.main import STOPPED, main
from isogloss.correlations import correlation
from isogloss.diagnosing.closeness import closeness
from isogloss.diagnosing.parallel_text import from_files
from isogloss.encoding import Encoder
from isogloss.errors import RunError
from isogloss.experiments import carrying_out
from isogloss.lab import fig2c
from isogloss.lab.fig2c import PAIRS, SEED
from isogloss.lab.shipped import DIALS, shipped
from isogloss.model.load import load
from isogloss.model.prompt import vocabulary_rows
from isogloss.reporting.scatter import Point
from refusing import contents, refused

ROWS, SEEDS = ("Zero-shot", "ICL"), (42, 43)


def strict(text: str) -> dict[str, Any]:
    """One JSON object, in which nothing is NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found = json.loads(text, parse_constant=refuse)
    assert isinstance(found, dict)
    return found


def command(out: Path, *more: object) -> list[str]:
    """The study at its cheapest; what comes later wins over what came before."""
    line = ["lab", "fig2c", "--task", "label", "--rows", *ROWS, "--seeds", *SEEDS]
    return [str(word) for word in [*line, "--test-items", 8, "--out", out, *more]]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A study that was carried out, which no test may change."""
    folder = tmp_path_factory.mktemp("studies") / "fig2c"
    assert main(command(folder)) == 0
    return folder


@pytest.fixture
def own(made, tmp_path) -> Path:
    """A copy in the same place of a folder that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "fig2c"))


@pytest.fixture
def scored(monkeypatch) -> list[str]:
    """The runs that are trained and scored from now on."""
    runs: list[str] = []
    evaluate = carrying_out.evaluating.evaluate

    def noted(settings: Any) -> Any:
        runs.append(settings.run)
        return evaluate(settings)

    monkeypatch.setattr(carrying_out.evaluating, "evaluate", noted)
    return runs


# ---- numbers -------------------------------------------------------------------------------------


def test_every_score_is_that_of_its_runs(made: Path) -> None:
    """Each is the mean over the seeds' runs; each run is of one model, row and seed."""
    cells = [json.loads(path.read_text()) for path in (made / "cells").glob("*.json")]
    assert len(cells) == len(DIALS) * len(ROWS) * len(SEEDS) == 12
    scores: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        run = made / cell["run"]
        kept = strict((run / cell["evaluation"] / "scores.json").read_text())
        lines = (run / cell["evaluation"] / "predictions.jsonl").read_text().splitlines()
        right = [json.loads(line)["correct"] for line in lines]
        assert len(right) == 8
        assert kept["value"] == cell["value"] == pytest.approx(sum(right) / 8)
        record = strict((run / "run.json").read_text())
        assert record["source"]["model"] == str(shipped(Path(cell["model"]).name))
        assert record["seed"] == cell["seed"]
        scores.setdefault((Path(cell["model"]).name, cell["row"]), []).append(cell["value"])
    assert {len(values) for values in scores.values()} == {len(SEEDS)}
    found = strict((made / "fig2c.json").read_text())
    assert found["models"] == 3
    assert {(row["model"], row["row"]) for row in found["rows"]} == set(scores)
    for row in found["rows"]:
        values = scores[row["model"], row["row"]]
        assert row["score"] == pytest.approx(sum(values) / len(values))
        assert row["low"] <= row["score"] <= row["high"]


def test_every_deviation_is_that_of_its_model(made: Path) -> None:
    """Measured on the study's own parallel text; and the dial lowers it."""
    found = strict((made / "fig2c.json").read_text())
    text = from_files([made / "world" / "parallel.tsv"], "a", "b").sampled(PAIRS, seed=SEED)
    for dial in DIALS:
        loaded = load(str(shipped(dial)))
        encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model))
        wanted = closeness(loaded, encoder, text, seed=SEED).deviation
        rows = [row for row in found["rows"] if row["model"] == dial]
        assert len(rows) == len(ROWS)
        for row in rows:
            assert row["cosine deviation"] == pytest.approx(wanted.value, abs=1e-5)
            assert row["deviation low"] == pytest.approx(wanted.low, abs=1e-5)
            assert row["deviation high"] == pytest.approx(wanted.high, abs=1e-5)
        assert wanted.low < wanted.value < wanted.high
        assert found["closeness"][dial]["pairs"] == PAIRS
    ordered = [found["closeness"][dial]["deviation"]["value"] for dial in DIALS]
    assert ordered == sorted(ordered, reverse=True)


def test_the_correlations_are_those_of_the_rows(made: Path) -> None:
    found = strict((made / "fig2c.json").read_text())
    assert found["correlations"]
    for name, one in found["correlations"].items():
        rows = [row for row in found["rows"] if row["row"] == name]
        wanted = correlation(
            [row["cosine deviation"] for row in rows], [row["score"] for row in rows], seed=SEED
        )
        assert one["things"] == 3
        assert one["rank"] == pytest.approx(wanted.rank)
        assert f"{name} {wanted.rank:+.2f}" in found["said"]


def test_figures_tables_and_page(made: Path) -> None:
    report = made / "report"
    assert (report / "figures" / "fig2c.png").read_bytes().startswith(b"\x89PNG")
    drawn = (report / "figures" / "fig2c.svg").read_text(encoding="utf-8")
    assert "cosine deviation" in drawn
    for word in (*ROWS, *DIALS):
        assert word in drawn
    for name in (f"figures/scores-{dial}-label.svg" for dial in DIALS):
        assert (report / name).is_file()
    assert (report / "tables" / "scores.csv").is_file()
    assert "Fig. 2c in the lab" in (report / "index.html").read_text(encoding="utf-8")


# ---- going on ------------------------------------------------------------------------------------


def test_the_same_again_runs_nothing_and_says_the_same(made, scored, capsys) -> None:
    """As one JSON object with the cells, the rows and where the page is."""
    before = contents(made / "cells") | contents(made / "runs")
    figure = strict((made / "fig2c.json").read_text())
    capsys.readouterr()
    assert main(command(made, "--json")) == 0
    found = strict(capsys.readouterr().out)
    assert scored == []
    assert contents(made / "cells") | contents(made / "runs") == before
    assert found["experiment"] == "lab fig2c"
    assert {cell["state"] for cell in found["cells"]} == {"done"}
    assert len(found["cells"]) == 12
    assert found["report"] == str(made / "report" / "index.html")
    assert {name: found[name] for name in figure} == figure


def test_after_a_stop_only_the_rest_is_run(tmp_path, scored, monkeypatch, capsys) -> None:
    """Whole cells are kept; what was under way when it was stopped is begun again."""
    line = command(tmp_path / "study", "--models", "low", "middle")
    evaluate = carrying_out.evaluating.evaluate

    def stopping(settings: Any) -> Any:
        if len(scored) == 3:
            raise KeyboardInterrupt
        return evaluate(settings)

    with monkeypatch.context() as stopped:
        stopped.setattr(carrying_out.evaluating, "evaluate", stopping)
        assert main(line) == STOPPED
    assert "5 runs left" in capsys.readouterr().err
    done = contents(tmp_path / "study" / "cells")
    assert len(done) == 3
    assert main(line) == 0
    assert len(scored) == len(set(scored)) == 8
    after = contents(tmp_path / "study" / "cells")
    assert len(after) == 8
    assert done.items() <= after.items()


def test_a_cell_that_failed_is_said_and_tried_again(tmp_path, scored, monkeypatch, capsys) -> None:
    """The others are carried out all the same, and not again."""
    line = command(tmp_path / "study", "--models", "low", "--seeds", 42)
    train = carrying_out.selecting.train

    def failing(settings: Any) -> Any:
        if settings.method == "zero-shot":
            raise RunError("no room on this disk")
        return train(settings)

    with monkeypatch.context() as broken:
        broken.setattr(carrying_out.selecting, "train", failing)
        assert main(line) == 0
    shown = capsys.readouterr()
    assert "Zero-shot, label b, seed 42: failed: no room on this disk" in shown.err
    assert "failed: b, seed 42: no room on this disk" in shown.out
    assert len(scored) == 1
    assert main([*line, "--json"]) == 0
    found = strict(capsys.readouterr().out)
    assert [cell["state"] for cell in found["cells"]] == ["done", "done"]
    assert len(scored) == 2


def test_more_seeds_run_the_new_ones_alone(tmp_path, scored, capsys) -> None:
    line = command(tmp_path / "study", "--models", "low", "--rows", "Zero-shot")
    assert main([*line, "--seeds", "1"]) == 0
    assert main([*line, "--seeds", "1", "2", "2"]) == 0
    assert len(scored) == 2
    found = strict((tmp_path / "study" / "grid.json").read_text())
    assert [cell["seed"] for cell in found["cells"]] == [1, 2]


# ---- parts ---------------------------------------------------------------------------------------


def test_several_shares_are_several_series(tmp_path, monkeypatch) -> None:
    """A share of D_t is a row of its own; the deviation is the model's. The rows are drawn."""
    drawn: list[Point] = []
    draw = fig2c.scatter
    monkeypatch.setattr(
        fig2c, "scatter", lambda points, *rest: drawn.extend(points) or draw(points, *rest)
    )
    line = command(tmp_path, "--rows", "Zero-shot", "--shares", 0.5, 1, "--seeds", 42)
    assert main(line) == 0
    found = strict((tmp_path / "fig2c.json").read_text())
    names = [f"Zero-shot, {share}% of D_t" for share in (50, 100)]
    assert {(row["model"], row["row"]) for row in found["rows"]} == {
        (dial, name) for dial in DIALS for name in names
    }
    assert len({row["cosine deviation"] for row in found["rows"]}) == 3
    for point, row in zip(drawn, found["rows"], strict=True):
        assert (point.label, point.series) == (row["model"], row["row"])
        assert point.x == (row["cosine deviation"], row["deviation low"], row["deviation high"])
        assert point.y == pytest.approx([100 * row[name] for name in ("score", "low", "high")])


def test_scores_that_never_vary_have_no_correlation(tmp_path, monkeypatch, capsys) -> None:
    evaluate = carrying_out.evaluating.evaluate

    def blank(settings: Any) -> Any:
        """Scores of a model that is right nowhere."""
        scores = evaluate(settings)
        path = scores.folder / "predictions.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        wrong = [line | {"correct": False} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in wrong))
        return scores

    monkeypatch.setattr(carrying_out.evaluating, "evaluate", blank)
    assert main(command(tmp_path, "--rows", "Zero-shot", "--seeds", 42, "--json")) == 0
    found = strict(capsys.readouterr().out)
    assert {row["score"] for row in found["rows"]} == {0}
    assert found["correlations"] == {}
    assert "all the same" in found["said"]


def test_two_models_are_too_few(tmp_path, capsys) -> None:
    assert main(command(tmp_path, "--models", "low", "high", "--seeds", 42)) == 0
    assert "rank correlation over 2 models: too few models" in capsys.readouterr().out


def test_where_every_cell_fails_the_reasons_are_said(tmp_path, capsys) -> None:
    """Of 40 items a share of .001 leaves none."""
    line = command(tmp_path, "--models", "low", "--shares", 0.001, "--seeds", 42)
    assert main(line) == 0
    assert "failed: " in capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    found = strict(capsys.readouterr().out)
    assert [cell["state"] for cell in found["cells"]] == ["failed", "failed"]
    assert all(
        "a share of 0.001 of the 40 training items" in cell["error"] for cell in found["cells"]
    )
    assert found["rows"] == []


def test_a_row_without_the_row_that_others_are_tested_against(tmp_path, capsys) -> None:
    assert main(command(tmp_path, "--rows", "ICL", "--models", "low", "--seeds", 42)) == 0
    shown = capsys.readouterr().out
    assert f"report: {tmp_path / 'report' / 'index.html'}" in shown
    assert "ICL" in shown


# ---- refusals ------------------------------------------------------------------------------------

REFUSED = {
    "--rows Zero-shto": ("no row in lab fig2c 'Zero-shto'", "did you mean 'Zero-shot'?"),
    "--rows Zero-shot FT": ("no row in lab fig2c 'FT'; there is Zero-shot, ICL, Direct",),
    "--task lable": ("no task 'lable'; there is choice, label, span", "did you mean 'label'"),
    "--models low midle": ("found no lab model 'midle'", "did you mean 'middle'?"),
    "--shares 0": ("share is 0.0; it must be above 0 and at most 1",),
    "--shares 1 1.5": ("share is 1.5; it must be above 0 and at most 1",),
    "--shares nan": ("share is nan",),
    "--test-items 0": ("test items is 0; it must be 1 or more",),
    "--workers 0": ("workers is 0; it must be 1 or more",),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_there_is_not(words: str, tmp_path, capsys) -> None:
    refused(capsys, tmp_path, [*command(tmp_path / "out"), *words.split()], *REFUSED[words])


def test_a_model_that_is_none_of_the_lab(model_folder, tmp_path, capsys) -> None:
    line = command(tmp_path / "out", "--models", "low", model_folder("llama"))
    refused(capsys, tmp_path, line, "is no model of the lab: it holds no lab.json")


def other_world(folder: Path, **changed: object) -> Path:
    """A shipped model that says of itself to be of another world."""
    shutil.copytree(shipped("low"), folder)
    record = json.loads((folder / "lab.json").read_text())
    record["world"] |= changed
    (folder / "lab.json").write_text(json.dumps(record))
    return folder


def test_models_of_different_worlds_are_refused(tmp_path, capsys) -> None:
    """But for the dial, which is what a study varies."""
    other = other_world(tmp_path / "other", seed=99, anchors=0.25, dial=0.7)
    line = command(tmp_path / "out", "--models", "middle", other)
    error = refused(capsys, tmp_path, line, f"{other}: its world differs from that of", "one world")
    told = error.partition(" in ")[2].partition(";")[0]
    assert sorted(told.split(", ")) == ["anchors", "seed"]


def test_a_folder_of_another_world_is_refused(own, tmp_path, capsys) -> None:
    """Also where only the sizes differ: its runs were scored on other items."""
    other = other_world(tmp_path / "other", seed=99)
    for change in (["--models", other], ["--test-items", 9]):
        refused(capsys, tmp_path, command(own, *change), "world.json: found another world")
