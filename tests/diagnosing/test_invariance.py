"""A diagnosis follows from its seed alone: not from batches, earlier calls or chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import isogloss
from helpers import encoder_for, groups_for
from isogloss.alignment.cosine_deviation import token_states
from isogloss.alignment.gradients import ItemLoss, probe_gradients
from isogloss.diagnosing import closeness as close_module
from isogloss.diagnosing import diagnosis as diagnosis_module
from isogloss.diagnosing import direction as direction_module
from isogloss.diagnosing.closeness import closeness
from isogloss.diagnosing.parallel_text import ParallelText
from isogloss.model.prompt import embedded
from number_task import VALIDATED, write_numbers


def numbers_of(found: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every number and word of a measurement with the place where it stands."""
    if dataclasses.is_dataclass(found):
        for field in dataclasses.fields(found):
            yield from numbers_of(getattr(found, field.name), f"{path}.{field.name}")
    elif isinstance(found, tuple):
        for place, each in enumerate(found):
            yield from numbers_of(each, f"{path}.{place}")
    else:
        yield path, found


def assert_same(found: object, wanted: object) -> None:
    one, other = dict(numbers_of(found)), dict(numbers_of(wanted))
    assert len(one) > 10
    assert one.keys() == other.keys()
    for path, value in one.items():
        assert value == pytest.approx(other[path], abs=1e-5), path


def test_closeness_in_other_batches(loaded, monkeypatch):
    own = tuple(f"The man number {n} {'went ' * (n % 7)}home." for n in range(24))
    other = tuple(f"Adam {n} {'gitti ' * (n % 5)}eve." for n in range(24))
    text = ParallelText(own, other, tuple(f"i{n}" for n in range(24)), "here")
    measure = partial(closeness, loaded, encoder_for(loaded, 0), text, tolerance=0.5, seed=1)
    wanted = measure()
    for size in (1, 5):
        turned = partial(token_states, batch_size=size)
        monkeypatch.setattr(close_module, "token_states", turned)
        assert_same(measure(), wanted)


@pytest.mark.parametrize("size", [1, 3])
def test_gradients_of_both_kinds_in_other_batches(loaded, size):
    """By the prompt and by hidden states, from one pass, with losses on demonstrations."""
    prompt = embedded(loaded.model, [5, 6, 7])
    groups = groups_for(encoder_for(loaded, 3), groups=3)
    found, wanted = (
        probe_gradients(
            loaded.model, prompt, groups, layers=[1, 2], loss=ItemLoss(None, 0.5, batch)
        )
        for batch in (size, 8)
    )
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert float(other.abs().max()) > 1e-3
        assert float((one - other).abs().max()) < 1e-5


@pytest.fixture
def diagnose(tmp_path, model_folder):
    """Gives a whole diagnosis of a small task, measured anew."""
    task = write_numbers(tmp_path / "numbers", VALIDATED)
    text = tmp_path / "text.tsv"
    rows = (f"the {'so ' * (n % 4)}man {n}\tadam {'de ' * (n % 3)}{n}\n" for n in range(24))
    text.write_text("en\ttr\n" + "".join(rows))

    def run(name: str, **given: object) -> isogloss.Diagnosis:
        return isogloss.diagnose(
            model_folder("gemma3"),
            target="tr",
            task=task,
            parallel=text,
            items=6,
            readers=3,
            demonstrations=2,
            out=tmp_path / name,
            **given,
        )

    return run


def test_twice_with_one_seed_gives_the_same_bytes(diagnose, tmp_path):
    """But for the seconds that it took, whatever was measured in between."""
    diagnose("one")
    diagnose("other", seed=7)
    diagnose("again")

    def kept(name: str) -> list[str]:
        path: Path = tmp_path / name / "diagnosis.json"
        return [line for line in path.read_text().splitlines() if '"seconds"' not in line]

    assert kept("one") == kept("again")
    assert kept("one") != kept("other")


def test_a_whole_diagnosis_in_other_batches(diagnose, monkeypatch):
    wanted = diagnose("one").now
    assert wanted.direction is not None
    assert wanted.attention is not None
    for module, name, size in (
        (close_module, "token_states", 3),
        (direction_module, "ItemLoss", 1),
        (diagnosis_module, "measure_attention", 2),
    ):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, partial(own, batch_size=size))
    assert_same(diagnose("other").now, wanted)
