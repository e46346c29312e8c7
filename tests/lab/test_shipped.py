"""The models that come with the package: whole, small, and able to learn in context."""

from __future__ import annotations

import json

import pytest

from isogloss.errors import ConfigError
from isogloss.lab.pretraining import PretrainSettings, record_of
from isogloss.lab.probing import probe
from isogloss.lab.shipped import DIALS, FOLDER, shipped, shipped_like, world_of
from isogloss.model.load import load
from isogloss.runs import file_digest

GAPS = {"choice": 0.25, "label": 0.25, "span": 0.15}


def record(dial: str) -> dict:
    return json.loads((shipped(dial) / "lab.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("dial", DIALS)
def test_a_shipped_model_is_what_its_record_says(dial: str) -> None:
    made = record(dial)
    assert file_digest(shipped(dial) / "model.safetensors") == made["sha256"]
    assert 500_000 <= made["parameters"] <= 4_000_000
    assert made["minutes"] > 0
    flag = "" if made["world"]["dial"] == 0 else f" --dial {made['world']['dial']}"
    assert made["command"] == f"isogloss lab pretrain --out MODEL{flag}"
    world = world_of(shipped(dial))
    settings = PretrainSettings(**made["pretraining"])
    assert shipped_like(world, settings) == shipped(dial)
    again = json.loads(json.dumps(record_of(world, settings)))
    assert again["world"] == made["world"]


def test_the_dials_differ_and_all_else_is_the_same() -> None:
    worlds = [record(dial)["world"] for dial in DIALS]
    dials = [world.pop("dial") for world in worlds]
    assert dials == sorted(set(dials))
    assert dials[0] == 0
    assert worlds[0] == worlds[1] == worlds[2]
    assert len({record(dial)["sha256"] for dial in DIALS}) == 3


def test_together_they_are_small() -> None:
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    assert size < 15e6
    assert {path.parent.name for path in FOLDER.glob("*/lab.json")} == set(DIALS)


@pytest.mark.parametrize("dial", DIALS)
def test_demonstrations_decide_what_nothing_else_does(dial: str) -> None:
    """At 250 items a difference has a standard error of about 0.04; docs/lab.md has 2,000."""
    loaded = load(str(shipped(dial)))
    rows = probe(loaded, world_of(shipped(dial)), items=250, shots=(0, 3))
    value = {(row["shape"], row["language"], row["demonstrations"]): row["value"] for row in rows}
    for shape, gap in GAPS.items():
        for code in "ab":
            found = value[shape, code, 3] - value[shape, code, 0]
            assert found > gap - 0.08, (shape, code)


def test_there_is_no_other_dial() -> None:
    with pytest.raises(ConfigError, match="no dial 'hihg'; there is low, middle, high.*high"):
        shipped("hihg")
