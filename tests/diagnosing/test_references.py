"""The references that come with the package, and where a number stands among some."""

from __future__ import annotations

import dataclasses
import math

import pytest

from isogloss.diagnosing.references import PLACE, Reference, Transfer, references, standing
from isogloss.methods.registry import METHODS
from isogloss.runs import read_json_file


def reference(model: str, deviation: float, **given: object) -> Reference:
    """A reference with numbers of no meaning where none are given."""
    filled = Reference(
        model=model,
        source="en",
        target="tr",
        task="xquad",
        command=f"isogloss diagnose --model {model}",
        deviation=deviation,
        centred=0.1,
        retrieval=0.5,
        cosine=None,
        excess=None,
        reading=None,
        transfer=None,
    )
    return dataclasses.replace(filled, **given)


def faults(row: dict) -> list[str]:
    """The names of a row of the file whose value cannot be a measured one."""

    def within(name: str, low: float, high: float, *, needed: bool = False) -> bool:
        value = row[name]
        if value is None:
            return not needed
        return math.isfinite(value) and low <= value <= high

    ends = {
        "deviation": within("deviation", -2, 2, needed=True),
        "centred": within("centred", -2, 2, needed=True),
        "retrieval": within("retrieval", 0, 1, needed=True),
        "cosine": within("cosine", -1, 1),
        "excess": within("excess", -2, 2),
        "reading": within("reading", -1, 1),
        "command": bool(row["command"].strip()),
        "languages": row["source"] != row["target"],
        "model": bool(row["model"]),
        "task": bool(row["task"]),
    }
    transfer = row["transfer"]
    if transfer:
        ends["scores"] = {"zero-shot", "direct-transfer"} <= set(transfer["scores"]) <= set(
            METHODS
        ) and all(0 <= score <= 1 for score in transfer["scores"].values())
        ends["counts"] = transfer["seeds"] >= 1 and transfer["items"] >= 1
    return [name for name, right in ends.items() if not right]


def test_every_row_of_the_file_can_have_been_measured() -> None:
    rows = read_json_file(PLACE)["references"]
    assert len(references()) == len(rows)
    assert {each.name: faults(dataclasses.asdict(each)) for each in references()} == {
        each.name: [] for each in references()
    }
    names = [each.name for each in references()]
    assert len(set(names)) == len(names)


def test_a_row_that_cannot_have_been_measured_is_told() -> None:
    scores = {"zero-shot": 0.2, "direct-transfer": 0.4}
    good = dataclasses.asdict(reference("m", 0.01, transfer=Transfer(scores, 3, 500), cosine=0.1))
    assert faults(good) == []
    assert faults(good | {"retrieval": 60.0}) == ["retrieval"]
    assert faults(good | {"deviation": None, "cosine": math.nan}) == ["deviation", "cosine"]
    assert faults(good | {"command": "", "target": "en"}) == ["command", "languages"]
    percent = {"scores": {"zero-shot": 20.0, "direct-transfer": 40.0}, "seeds": 0, "items": 500}
    assert faults(good | {"transfer": percent}) == ["scores", "counts"]


def test_a_transfer_says_what_was_gained_and_by_what() -> None:
    found = Transfer({"zero-shot": 0.25, "direct-transfer": 0.75, "cl-icp": 0.875}, 3, 500)
    assert found.gain == 0.5
    assert found.best == "cl-icp"


@pytest.mark.parametrize(
    ("value", "below", "third", "nearest"),
    [
        (-1.0, 6, "low", "m0"),
        (0.04, 5, "low", "m0"),
        (0.14, 4, "middle", "m1"),
        (0.2, 3, "middle", "m2"),
        (0.34, 2, "middle", "m3"),
        (0.44, 1, "high", "m4"),
        (9.0, 0, "high", "m5"),
    ],
)
def test_thirds_and_the_nearest(value: float, below: int, third: str, nearest: str) -> None:
    """Of 0, .1, .2, .3, .4, .5: below more than two thirds of them is low, below few is high."""
    among = [reference(f"m{n}", n / 10) for n in (3, 0, 5, 1, 4, 2)]
    found = standing(value, "deviation", among)
    assert found is not None
    assert (found.below, found.of) == (below, 6)
    assert found.third == third
    assert found.nearest.model == nearest


def test_tasks_of_one_text_count_once() -> None:
    """Three tasks of one model with one number are one reference; with two numbers, two."""
    three = [reference("m0", 0.3, task=task) for task in "abc"]
    others = [reference("m1", 0.1), reference("m2", 0.2), reference("m0", 0.4, task="d")]
    found = standing(0.25, "deviation", [*three, *others])
    assert found is not None
    assert (found.below, found.of) == (2, 4)
    assert found.nearest.task == "a"
    assert standing(0.25, "deviation", three) is None


def test_two_are_too_few_to_stand_among() -> None:
    """Those without the number do not count."""
    among = [reference(f"m{n}", n / 10, cosine=n / 10 if n else None) for n in range(3)]
    assert standing(0.1, "deviation", among) is not None
    assert standing(0.1, "cosine", among) is None
    assert standing(0.1, "deviation", among[:2]) is None
    assert standing(0.1, "deviation", []) is None
