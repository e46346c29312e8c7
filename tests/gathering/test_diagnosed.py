"""Diagnoses that are gathered: where they are found, once each, and what damaged ones say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import isogloss
from diagnosis_files import LAYERS, measured, write_diagnosis
from isogloss.errors import RunError
from isogloss.gathering.diagnosed import read_diagnosed
from isogloss.gathering.folders import gather
from report_runs import write_grid, write_run


def test_a_diagnosis_holds_what_was_written(tmp_path):
    found = read_diagnosed(write_diagnosis(tmp_path / "d", run=True))
    assert found.title == "tiny: en to tr, parity, mtl"
    assert found.where == "text.tsv"
    assert [layer.layer for layer in found.layers] == list(range(1, LAYERS + 1))
    assert len(found.after) == LAYERS
    assert found.layers[0].deviation.value - found.after[0].deviation.value == pytest.approx(0.05)
    assert [said.answer for said in found.findings] == ["far", "cl-icp"]
    assert found.findings[0].sentences == ("Deviation 0.200.", "Second sentence.")
    assert [said.answer for said in found.findings_after] == ["near"]


def test_what_the_command_writes_is_read(model_folder, tmp_path):
    rows = "".join(f"the man {n}\tadam {n}\n" for n in range(20))
    (tmp_path / "text.tsv").write_text("en\ttr\n" + rows)
    made = isogloss.diagnose(
        model_folder("llama"), target="tr", parallel=tmp_path / "text.tsv", out=tmp_path / "d"
    )
    (found,) = gather([tmp_path]).diagnosed
    assert (found.where, found.task, found.method) == ("text.tsv", None, None)
    assert [said.sentences for said in found.findings] == [f.sentences for f in made.findings]
    assert [layer.retrieval for layer in found.layers] == [
        layer.retrieval for layer in made.now.closeness.layers
    ]


def test_each_is_found_once_in_runs_and_beside_them(tmp_path, monkeypatch):
    run = write_diagnosis(write_run(tmp_path / "runs", "mtl"), run=True)
    alone = write_diagnosis(tmp_path / "diagnoses" / "tiny-parity-tr")
    unscored = write_diagnosis(write_run(tmp_path / "runs", "tl", scored=False), run=True)
    monkeypatch.chdir(tmp_path)
    found = gather([tmp_path, run, alone, Path("diagnoses"), Path("diagnoses/../runs")])
    assert [each.folder for each in found.diagnosed] == [alone, run, unscored]
    assert [outcome.place.row for outcome in found.outcomes] == ["mtl"]


def test_those_of_a_grids_runs_are_found(tmp_path):
    run = write_diagnosis(write_run(tmp_path / "grid" / "runs", "mtl"), run=True)
    done = {"state": "done", "run": f"runs/{run.name}"}
    (tmp_path / "grid").rename(tmp_path / "half")
    grid = write_grid(tmp_path / "grid", [({"row": "MTL"}, done), ({"row": "again"}, done)])
    (tmp_path / "half" / "runs").rename(grid / "runs")
    assert [each.folder for each in gather([grid]).diagnosed] == [run]


def changed(**changes) -> str:
    return json.dumps({"model": "tiny", "now": measured()} | changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "found a damaged file"),
        ("[]", "found a JSON list; expected an object"),
        (
            "{}",
            r"cannot be read as a diagnosis \(no 'now'\); make it again with `isogloss diagnose",
        ),
        (changed(now=None, after=None), "cannot be read as a diagnosis"),
        (changed(now={"closeness": {"where": "x", "layers": []}}), "cannot be read as a diagnosis"),
    ],
)
def test_a_damaged_one_is_a_note_where_there_is_more_and_else_a_mistake(text, said, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "diagnosis.json").write_text(text)
    with pytest.raises(RunError, match=f"found nothing to report(?s:.*){said}"):
        gather([tmp_path])
    write_run(tmp_path, "mtl")
    found = gather([tmp_path])
    assert found.diagnosed == ()
    (note,) = found.notes
    assert note.startswith(f"passed over: {tmp_path / 'broken' / 'diagnosis.json'}: ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"findings": [{"question": "a", "answer": "b"}]}, "no 'sentences'"),
        ({"findings": [{"question": "a", "answer": "b", "sentences": "c"}]}, "that are a str"),
        ({"findings": 3}, "not iterable"),
        ({"after": {"closeness": {"layers": []}}}, "no layer"),
        ({"after": 1}, "not subscriptable"),
    ],
)
def test_damage_is_named(changes, said, tmp_path):
    with pytest.raises(RunError, match=f"cannot be read as a diagnosis .*{said}"):
        read_diagnosed(write_diagnosis(tmp_path / "d", **changes))
