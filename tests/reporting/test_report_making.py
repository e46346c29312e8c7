"""`isogloss report` and `isogloss.report`: what is written, printed and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import isogloss
from isogloss.cli.main import main
from isogloss.errors import ConfigError, RunError
from isogloss.outcomes import read_outcome
from isogloss.reporting import making
from isogloss.reporting.texts import item_texts
from report_runs import first_of, write_run


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def no_figures(monkeypatch):
    """For tests of something else: figures take the longest."""
    monkeypatch.setattr(making, "figures", lambda tables, outcomes: [])


@pytest.fixture
def runs(tmp_path) -> Path:
    for method, right in (("cl-icp", 50), ("mtl", 30)):
        write_run(tmp_path / "runs", method, right=first_of(right))
    return tmp_path / "runs"


def test_everything_is_written_twice_the_same_and_nothing_old_is_left(runs, tmp_path, capsys):
    out = tmp_path / "report"
    assert main(["report", str(runs), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(contents(out)) == {
        "index.html",
        "report.json",
        *(f"tables/scores.{kind}" for kind in ("md", "tex", "csv")),
        "tables/scores-tests.csv",
        *(f"figures/scores-tiny-parity.{kind}" for kind in ("svg", "png")),
        *(f"figures/training-tiny-parity.{kind}" for kind in ("svg", "png")),
    }
    assert told["report"] == str(out / "index.html")
    assert {k: v for k, v in told.items() if k != "report"} == json.loads(
        (out / "report.json").read_text()
    )
    cells = {cell["system"]: cell for cell in told["tables"]["scores"]["cells"]}
    assert cells["cl-icp"]["mean"] == 50 / 60
    assert cells["cl-icp"]["marks"] == "*†"
    before = contents(out)
    (out / "tables" / "old.md").write_text("of an earlier report")
    assert main(["report", str(runs), "--out", str(out)]) == 0
    assert contents(out) == before
    said = " ".join(capsys.readouterr().out.split())
    assert "83.3*† [73.3, 91.7]" in said
    assert f"written: {out / 'index.html'}" in said


def test_python_gives_the_same(no_figures, runs, tmp_path):
    made = isogloss.report(
        *sorted(runs.iterdir()), out=tmp_path / "one", baseline="cl-icp", title="Ours & theirs"
    )
    assert made.content["title"] == "Ours & theirs"
    assert "<h1>Ours &amp; theirs</h1>" in made.page.read_text()
    (table,) = made.tables
    assert {c.against.row for c in table.comparisons if c.question == "baseline"} == {"cl-icp"}
    run = isogloss.open_run(next(runs.iterdir()))
    again = isogloss.report(run, out=tmp_path / "two", seed=3)
    assert len(again.content["outcomes"]) == 1
    with pytest.raises(ConfigError, match="no setting 'titel'; did you mean 'title'"):
        isogloss.report(runs, out=tmp_path / "three", titel="x")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ((), "give run folders"),
        (("nowhere",), "no such folder: nowhere"),
        (("RUNS", "--baseline", "mlt"), "no row 'mlt' to test against; there is cl-icp, mtl"),
        (("RUNS", "--out", "RUNS"), "holds other files"),
        (("RUNS", "--out", "FILE"), "which is a file"),
    ],
)
def test_mistakes_are_said_and_nothing_is_written(line, said, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    before = contents(tmp_path)
    words = [{"RUNS": str(runs), "FILE": "file"}.get(word, word) for word in line]
    assert main(["report", *words]) == 2
    assert said in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_runs_that_cannot_be_compared_are_refused(runs, tmp_path, capsys):
    write_run(runs, "ft", right=first_of(3, items=10))
    assert main(["report", str(runs), "--out", str(tmp_path / "report")]) == 2
    error = capsys.readouterr().err
    assert "cannot be compared" in error
    assert "and 47 more only there" in error
    assert "Traceback" not in error
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_a_users_mistake(runs, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="cannot write to .*No space left"):
        isogloss.report(runs, out=tmp_path / "report")


# ---- texts -----------------------------------------------------------------------------------


def test_texts_that_cannot_be_had_are_said_to_be_missing(no_figures, runs, tmp_path):
    html = isogloss.report(runs, out=tmp_path / "a").page.read_text()
    assert "parity, tr: ids and answers only; no task" in html
    hidden = isogloss.report(runs, out=tmp_path / "b", hide_texts=True).page.read_text()
    assert "texts were left out" in hidden


def test_changed_data_and_data_of_the_hub_are_not_shown(tmp_path):
    run = write_run(tmp_path, "mtl")
    record = json.loads((run / "run.json").read_text())
    for source, said in (
        ({"task": "xcopa", "data": "hub", "model": "tiny"}, "on the hub"),
        ({"task": str(example()), "data": None, "model": "tiny"}, "changed since the run"),
    ):
        (run / "run.json").write_text(json.dumps(record | {"source": source}))
        (found,) = item_texts([read_outcome(run)]).values()
        assert said in found.missing
        assert not found.fields


def example() -> Path:
    return Path(__file__).parents[2] / "examples" / "support_routing"


def test_real_runs_with_texts_and_the_base_model(no_figures, model_folder, tmp_path):
    """The whole way on a tiny model: train, evaluate beside the base model, report."""
    for method in ("mtl", "cl-icp"):
        run = isogloss.train(
            example(), model=model_folder("llama"), target="tr", method=method, max_steps=2,
            limit=8, demonstrations=1 if method == "cl-icp" else None, out=tmp_path / "runs",
            share_demonstrations=1 if method == "cl-icp" else None,
        )  # fmt: skip
        isogloss.evaluate(run, baseline=method == "cl-icp")
    made = isogloss.report(tmp_path / "runs", out=tmp_path / "report")
    (table,) = made.tables
    assert [line.row for line in table.lines] == ["zero-shot", "icl", "mtl", "cl-icp"]
    html = made.page.read_text()
    assert "ids and answers only" not in html
    data = json.loads(html.split('id="predictions-data">')[1].split("</script>")[0])
    (block,) = data["blocks"]
    items = {e["id"]: e for e in map(json.loads, (example() / "tr/test.jsonl").open())}
    assert len(block["items"]) == 8
    for name, ((_, message),), right in block["items"]:
        item = items[data["texts"][name]]
        assert (data["texts"][message], data["texts"][right]) == (item["message"], item["intent"])
    for outcome in made.content["outcomes"]:
        if not outcome["untuned"]:
            scores = json.loads((Path(outcome["run"]) / "scores.json").read_text())
            assert outcome["means"]["accuracy"] == pytest.approx(scores["value"])
