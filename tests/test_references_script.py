"""The shipped reference values are made from diagnoses and studies, each with its command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from diagnosis_files import measured, write_diagnosis
from isogloss.runs import read_json_file
from report_runs import first_of, write_grid, write_run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import references as script


def grid(folder: Path, methods: dict[str, int]) -> Path:
    """A grid of `tiny` on parity tr, two seeds, each method with so many of 60 answers right."""
    cells = []
    for method, right in methods.items():
        for seed in (1, 2):
            answers = first_of(right + seed)
            run = write_run(folder / "runs", method, seed=seed, model="tiny", right=answers)
            cell = {"row": method, "model": "tiny", "seed": seed}
            cells.append((cell, {"state": "done", "run": str(run.relative_to(folder))}))
    return write_grid(folder, cells)


def test_a_row_has_the_diagnosis_s_numbers_and_what_methods_came_to(tmp_path):
    now = measured()
    interval = {"value": 0.25, "low": 0.1, "high": 0.4, "items": 8}
    now["direction"] = {"items": [30, 20], "alignment": {"cosine": interval}, "excess": interval}
    now["attention"] = {
        "targets": 7,
        "demonstrations": 3,
        "leave_one_out": {"whole": {"difference": {**interval, "value": -0.12345}}},
    }
    write_diagnosis(tmp_path / "d" / "one", task="parity", now=now)
    study = grid(tmp_path / "s", {"zero-shot": 20, "direct-transfer": 40, "mtl": 50})
    out = tmp_path / "references.json"
    given = [tmp_path / "d", "--studies", study, "--about", "as made here", "--out", out]
    assert script.main([str(word) for word in given]) == 0
    content = read_json_file(out)
    assert content["about"] == "as made here"
    (row,) = content["references"]
    assert row["command"] == (
        "isogloss diagnose --model tiny --task parity --target tr --items 20 --readers 7 "
        "--demonstrations 3 --seed 42"
    )
    assert (row["deviation"], row["retrieval"]) == (0.2, 0.8)
    assert (row["cosine"], row["reading"]) == (0.25, -0.1235)
    scores = {"zero-shot": 21.5 / 60, "direct-transfer": 41.5 / 60, "mtl": 51.5 / 60}
    assert row["transfer"]["scores"] == pytest.approx(scores, abs=1e-4)
    assert (row["transfer"]["seeds"], row["transfer"]["items"]) == (2, 60)


def test_a_newer_row_takes_the_older_one_s_place(tmp_path):
    """Its transfer stays where no study is given again, and other rows stay as they are."""
    out = tmp_path / "references.json"
    study = grid(tmp_path / "s", {"zero-shot": 20, "direct-transfer": 40})
    write_diagnosis(tmp_path / "d", task="parity")
    write_diagnosis(tmp_path / "e", task="other")
    given = [tmp_path / "d", tmp_path / "e", "--studies", study, "--about", "first", "--out", out]
    assert script.main([str(word) for word in given]) == 0
    first = {row["task"]: row for row in read_json_file(out)["references"]}
    now = measured()
    now["closeness"]["deviation"]["value"] = 0.4
    write_diagnosis(tmp_path / "d", task="parity", now=now)
    assert script.main([str(tmp_path / "d"), "--out", str(out)]) == 0
    content = read_json_file(out)
    later = {row["task"]: row for row in content["references"]}
    assert content["about"] == "first"
    assert later == {**first, "parity": {**first["parity"], "deviation": 0.4}}
    assert later["parity"]["transfer"] is not None


def test_without_direct_transfer_there_is_no_transfer(tmp_path):
    write_diagnosis(tmp_path / "d", task="parity")
    study = grid(tmp_path / "s", {"zero-shot": 20, "mtl": 50})
    out = tmp_path / "references.json"
    assert script.main([str(tmp_path / "d"), "--studies", str(study), "--out", str(out)]) == 0
    (row,) = read_json_file(out)["references"]
    assert row["transfer"] is None
    assert (row["cosine"], row["excess"], row["reading"]) == (None, None, None)


def test_no_diagnosis_is_refused(tmp_path, capsys):
    assert script.main([str(tmp_path), "--out", str(tmp_path / "r.json")]) == 2
    assert "found no diagnosis.json" in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


def test_the_shipped_ones_are_of_that_form():
    rows = json.loads(script.PLACE.read_text())["references"]
    assert all(row["command"].startswith("isogloss diagnose --model") for row in rows)
