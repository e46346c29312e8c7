"""The evidence ledger: what studies, analyses and diagnoses say of claims, and how it is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from isogloss.runs import write_json_file
from report_runs import first_of, write_grid, write_run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import evidence
from claims import CLAIMS, Numbers, Rows


def study(folder: Path, name: str, scores: dict[tuple[str, str, float, int], int]) -> Path:
    """A grid of these cells (row, model, share, seed), each with so many of 60 answers right."""
    cells = []
    for (row, model, share, seed), right in scores.items():
        run = write_run(
            folder / "runs",
            "mtl",
            seed=seed,
            share=share,
            model=model,
            right=first_of(right),
            name=row,
            target="b",
        )
        cell = {"row": row, "model": model, "share": share, "seed": seed, "language": "b"}
        cells.append((cell, {"state": "done", "run": str(run.relative_to(folder))}))
    write_grid(folder, cells)
    content = json.loads((folder / "grid.json").read_text())
    (folder / "grid.json").write_text(json.dumps(content | {"experiment": name}))
    return folder


def interval(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high, "items": 9}


def kept(tmp_path: Path, *folders: Path, day: str = "2026-01-01") -> list[dict]:
    given = ["--numbers", tmp_path / "e.json", "--page", tmp_path / "e.md", "--day", day]
    assert evidence.main([*map(str, folders), *map(str, given)]) == 0
    return json.loads((tmp_path / "e.json").read_text())["entries"]


def of(entries: list[dict], claim: str) -> list[dict]:
    return [each for each in entries if each["claim"] == claim]


def test_a_study_s_rows_are_met_by_model(tmp_path):
    scores = {}
    for seed in (1, 2):
        for model, right in (("low", (50, 10)), ("high", (10, 50))):
            scores["CL-ICP", model, 1.0, seed] = right[0]
            scores["MTL", model, 1.0, seed] = right[1]
    entries = kept(tmp_path, study(tmp_path / "s", "lab table2", scores))
    found = {each["where"]: each for each in of(entries, "CL-ICP beats MTL")}
    low, high = found["lab, parity, dial low"], found["lab, parity, dial high"]
    assert low["value"] == pytest.approx(40 / 60)
    assert low["verdict"] == "holds"
    assert low["of"] == "2 seeds, 60 items"
    assert low["command"] == "isogloss lab table2"
    assert high["value"] == pytest.approx(-40 / 60)
    assert high["verdict"] == "does not"
    assert of(entries, "CL-ICP beats FT") == [], "a row that was not run is no evidence"


def test_shares_and_models_are_met(tmp_path):
    scores = {}
    for seed in (1, 2):
        for row, share, right in (
            ("CL-ICP, s-t", 0.25, 50),
            ("MTL, s-t", 0.25, 20),
            ("CL-ICP, s-t", 1.0, 40),
            ("MTL, s-t", 1.0, 30),
        ):
            scores[row, "middle", share, seed] = right
    few = study(tmp_path / "few", "lab fig5", scores)
    direct = {("Direct transfer", m, 1.0, 1): n for m, n in (("low", 10), ("high", 40))}
    dial = study(tmp_path / "dial", "lab fig2c", direct)
    entries = kept(tmp_path, few, dial)
    (lead,) = of(entries, "CL-ICP gains most where data are few")
    assert lead["value"] == pytest.approx((30 - 10) / 60)
    (close,) = of(entries, "Close representations transfer")
    assert close["value"] == pytest.approx(30 / 60)
    assert close["where"] == "lab, parity, dial high against low"


def analysis(folder: Path, name: str, content: dict) -> Path:
    write_json_file(folder / "analysis.json", {"analysis": name, **content})
    return folder


def test_an_analysis_says_what_its_numbers_say(tmp_path):
    kinds = [
        {"kind": kind, "within": interval(0, 0, 0), "over_random": interval(*numbers)}
        for kind, numbers in (("parallel", (0.2, 0.1, 0.3)), ("same topic", (0.1, -0.1, 0.3)))
    ]
    equal = {"cosine": interval(-0.2, -0.3, -0.1), "seeds": 5}
    content = {
        "kinds": {"m, t b": kinds},
        "equal loss": {"m, t b": equal, "few": {**equal, "seeds": 2}, "none": None},
        "correlations": {"mtl": {"cosine": {"rank": 0.5, "low": -0.2, "high": 0.9, "things": 6}}},
    }
    entries = kept(tmp_path, analysis(tmp_path / "a", "lab mechanism", content))
    verdicts = {each["claim"]: each["verdict"] for each in entries}
    assert verdicts == {
        "Gradient alignment carries transfer": "not decided",
        "Related demonstrations align gradients": "holds",
        "The same topic aligns gradients": "not decided",
        "CL-ICP aligns with unseen items": "does not",
    }


def test_newer_replaces_older_and_all_else_stays(tmp_path):
    def fig1(inner: float) -> dict:
        return {"panels": [{"name": "a", "first": 1.0, "second": 2.0, "measured": inner}]}

    first = analysis(tmp_path / "one", "fig1", fig1(2.0))
    kept(tmp_path, first, day="2026-01-01")
    other = {"expansions": {"FT": {"without the term": 0.3, "with it": 0.1}}}
    second = analysis(tmp_path / "two", "eq3", other)
    again = analysis(tmp_path / "three", "fig1", fig1(-2.0))
    entries = kept(tmp_path, second, again, day="2026-01-02")
    assert [(each["measured by"], each["day"]) for each in entries] == [
        ("fig1", "2026-01-02"),
        ("eq3", "2026-01-02"),
    ]
    assert [each["verdict"] for each in entries] == ["does not", "holds"]
    page = (tmp_path / "e.md").read_text()
    assert "| panel a | -2.000 |" in page
    assert page.count("## ") == len(CLAIMS)
    assert page.count("Not measured yet.") == len(CLAIMS) - 2
    assert kept(tmp_path) == entries, "without folders the page is written anew from the numbers"


def test_what_it_cannot_read_is_refused(tmp_path, capsys):
    nowhere = ["--numbers", str(tmp_path / "e.json"), "--page", str(tmp_path / "e.md")]
    assert evidence.main([str(tmp_path / "none"), *nowhere]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "analysis.json").write_text("{")
    assert evidence.main([str(tmp_path / "bad"), *nowhere]) == 2
    assert "analysis.json" in capsys.readouterr().err
    assert not (tmp_path / "e.json").exists()


def test_every_claim_names_rows_and_analyses_that_there_are():
    from isogloss.experiments.analyses.registry import ANALYSES
    from isogloss.lab.mechanism import NAME
    from isogloss.lab.studies import STUDIES

    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) >= 19
    for claim in CLAIMS:
        assert claim.tests
        for test in claim.tests:
            if isinstance(test, Numbers):
                assert test.analysis in {*ANALYSES, NAME, "diagnosis"}
            else:
                assert isinstance(test, Rows)
                rows = [row.label for row in STUDIES[test.study.removeprefix("lab ")].rows]
                assert {test.row, test.less} <= set(rows)


def test_the_page_in_docs_is_what_its_numbers_give():
    entries = json.loads(evidence.NUMBERS.read_text())["entries"]
    assert evidence.PAGE.read_text() == evidence.page(entries)
