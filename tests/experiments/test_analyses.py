"""`isogloss reproduce table1 | fig1 | fig2 | eq3`: what is printed, kept, drawn and refused."""

from __future__ import annotations

import json

import pytest

import isogloss
from isogloss.cli.main import main
from isogloss.correlations import correlation
from isogloss.runs import read_json_file


def reproduce(capsys, *words) -> tuple[int, str, str]:
    code = main(["reproduce", *map(str, words)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_figure_1_needs_no_model(tmp_path, capsys):
    code, shown, _ = reproduce(capsys, "fig1", "--out", tmp_path)
    assert code == 0
    assert "inputs at right angles: none" in shown
    found = read_json_file(tmp_path / "analysis.json")
    assert [row["panel"] for row in found["rows"]] == ["a", "b", "c"]
    for row in found["rows"]:
        assert row["by Eq. 2"] == pytest.approx(row["of the gradients"], abs=1e-9)
    for ending in ("svg", "png"):
        assert (tmp_path / "figures" / f"fig1.{ending}").stat().st_size > 5000


def test_equation_3_on_the_linear_model_and_a_soft_prompt(
    tmp_path, capsys, model_folder, real_data
):
    asked = ["eq3", "--models", model_folder("gemma3"), "--tasks", "xcopa"]
    asked += ["--targets", "tr", "sw", "--limit", 4, "--data", real_data, "--out", tmp_path]
    code, shown, _ = reproduce(capsys, *asked, "--json")
    assert code == 0
    found = json.loads(shown)
    checks = found["checks"]
    assert len(checks) == 3
    assert [name.rpartition(" ")[2] for name in checks][1:] == ["tr", "sw"]
    for name, check in checks.items():
        assert len(check["rows"]) == 5
        # The smallest rate is where theory holds best.
        last = check["rows"][-1]
        assert abs(last["measured"] - last["second"]) < abs(last["measured"] - last["first"]), name
    assert checks["linear model"]["orders"][0] == pytest.approx(2, abs=0.2)
    assert checks["linear model"]["orders"][1] == pytest.approx(3, abs=0.2)
    for expansion in found["expansions"].values():
        assert expansion["with it"] < expansion["without the term"] / 10


def test_table_1_is_kept_and_gone_on_with(tmp_path, capsys, model_folder, real_data, monkeypatch):
    asked = ["table1", "--models", model_folder("llama"), "--tasks", "xcopa", "--data", real_data]
    asked += ["--limit", 3, "--out", tmp_path]
    code, shown, _ = reproduce(capsys, *asked, "--targets", "tr")
    assert code == 0
    assert "by slot" in shown
    from isogloss.experiments.analyses import table1

    calls = []
    own = table1.diagnose
    monkeypatch.setattr(table1, "diagnose", lambda given: calls.append(given.target) or own(given))
    code, _, _ = reproduce(capsys, *asked, "--targets", "tr", "zh", "--json")
    assert code == 0
    assert calls == ["zh"]
    rows = read_json_file(tmp_path / "analysis.json")["rows"]
    assert [row["target"] for row in rows] == ["zh", "tr"]
    assert all(row["low"] <= row["difference"] <= row["high"] for row in rows)
    reproduce(capsys, *asked[:-1], tmp_path, "--targets", "tr", "--seeds", 7)
    assert calls == ["zh", "tr"], "another seed is another question"


def test_figure_2_with_runs(tmp_path, capsys, model_folder, real_data):
    """Fig. 2c: the scores of direct transfer from run folders, met with the deviations.

    A model that knows nothing scores 0 everywhere, which has no correlation; then es and zh differ.
    """
    given = {"model": model_folder("llama"), "data": real_data, "out": tmp_path / "runs"}
    runs = {}
    for target in ("es", "zh", "tr"):
        runs[target] = isogloss.train(
            "xquad", **given, target=target, method="direct-transfer", max_steps=1, limit=3
        )
        isogloss.evaluate(runs[target], max_new_tokens=2, limit=3)
    asked = ["fig2", "--models", model_folder("llama"), "--data", real_data, "--limit", 24]
    asked += ["--targets", "es", "zh", "tr", "--out", tmp_path / "fig2"]
    asked += ["--runs", tmp_path / "runs", "--json"]
    code, shown, _ = reproduce(capsys, *asked)
    assert code == 0
    assert "NaN" not in shown
    found = json.loads(shown)
    assert found["correlations"] == {}
    assert "scores that are all the same" in found["sentences"][-1]
    for target, value in (("es", 0.5), ("zh", 0.25)):
        path = runs[target].folder / "predictions.jsonl"
        lines = [json.loads(line) | {"f1": value} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, shown, _ = reproduce(capsys, *asked)
    assert code == 0
    found = json.loads(shown)
    deviation = {row["target"]: row["deviation"] for row in found["rows"]}
    wanted = correlation([deviation[t] for t in ("es", "zh", "tr")], [0.5, 0.25, 0.0], seed=0)
    assert found["correlations"]["over all"]["things"] == 3
    assert found["correlations"]["over all"]["rank"] == pytest.approx(wanted.rank)
    assert found["correlations"]["over all"]["linear"] == pytest.approx(wanted.linear)
    for name in ("fig2a", "fig2c"):
        assert (tmp_path / "fig2" / "figures" / f"{name}.svg").is_file()
    maps = [path.name for path in (tmp_path / "fig2" / "figures").glob("fig2b-*.svg")]
    assert len(maps) == 1


def test_what_is_refused(tmp_path, capsys, model_folder, real_data):
    code, _, said = reproduce(capsys, "table1", "--out", tmp_path)
    assert code == 2
    assert "no model to run" in said
    model = model_folder("llama")
    asked = ["fig2", "--models", model, "--data", real_data, "--targets", "sw", "--out", tmp_path]
    code, _, said = reproduce(capsys, *asked)
    assert code == 2
    assert "fig2 has no xquad in sw; it has xquad in zh, es, tr, el" in said
    code, _, said = reproduce(capsys, *asked[:-3], "es", "--limit", 20, "--runs", tmp_path / "none")
    assert code == 2
    assert "no such folder" in said


def test_they_are_listed(capsys):
    assert main(["experiments", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"table1", "fig1", "fig2", "eq3", "table2"} <= {row["name"] for row in listed}
