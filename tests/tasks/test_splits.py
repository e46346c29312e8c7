from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import pytest

from isogloss.errors import ConfigError, DataError
from isogloss.tasks.example import Example, Portion, SplitName, Task, Wording
from isogloss.tasks.reading import Record
from isogloss.tasks.splits import make_split, read_test
from isogloss.tasks.xcopa import Xcopa
from isogloss.tasks.xquad import Xquad


@final
@dataclass(frozen=True)
class Made(Task):
    """A task of made items, by language and split."""

    names: Mapping[tuple[str, str], list[str]] = field(default_factory=dict)

    name = "made"
    kind = "label"
    metric = "accuracy"
    dominant = "en"
    languages = ("en", "tr", "sw")

    def read(self, language: str, split: SplitName, *, seed: int) -> Portion:
        names = self.names.get((language, split), [])
        examples = tuple(Example(name, language, {"text": name}) for name in names)
        return Portion(examples, (Path(f"{split}.{language}"),), {"odd": 1} if names else {})

    def wording(self, language: str) -> Wording:
        return Wording("{text}")

    def parse(self, record: Record, language: str) -> Example:
        raise NotImplementedError


def names(first: int, last: int) -> list[str]:
    return [f"{number:03}" for number in range(first, last)]


def made(**changes: list[str]) -> Made:
    parts = {
        "en_train": names(0, 60),
        "tr_train": names(20, 60)[::-1],
        "tr_validation": names(100, 110),
        "tr_test": names(200, 230),
        "en_test": names(200, 230),
        **changes,
    }
    keys = {tuple(key.split("_")): value for key, value in parts.items()}
    return Made({(language, split): value for (language, split), value in keys.items()})


def ids(examples: tuple[Example, ...]) -> list[str]:
    return [example.id for example in examples]


def test_each_set_is_of_its_language_and_all_files_are_told() -> None:
    split = make_split(made(), "tr", seed=1)
    assert (len(split.dominant), len(split.target)) == (60, 40)
    assert (len(split.validation), len(split.test)) == (10, 30)
    assert {one.language for one in split.dominant} == {"en"}
    assert {one.language for one in (*split.target, *split.validation, *split.test)} == {"tr"}
    assert [str(file) for file in split.files] == [
        "train.en",
        "train.tr",
        "validation.tr",
        "test.tr",
    ]
    assert split.notes["D_s: odd"] == split.notes["test: odd"] == 1
    assert split.notes["D_t pool"] == 40


def test_shares_of_a_seed_are_nested_and_keep_the_order() -> None:
    everything = ids(make_split(made(), "tr", seed=1).target)
    larger = everything
    for share, count in ((0.75, 30), (0.5, 20), (0.25, 10), (0.1, 4), (0.02, 1)):
        smaller = ids(make_split(made(), "tr", seed=1, share=share).target)
        assert len(smaller) == count
        assert set(smaller) <= set(larger)
        assert smaller == [name for name in everything if name in smaller]
        larger = smaller
    assert ids(make_split(made(), "tr", seed=1, share=0.5).target) != ids(
        make_split(made(), "tr", seed=2, share=0.5).target
    )


def test_a_share_does_not_depend_on_the_order_of_the_items() -> None:
    forth = make_split(made(tr_train=names(20, 60)), "tr", seed=1, share=0.25)
    back = make_split(made(), "tr", seed=1, share=0.25)
    assert set(ids(forth.target)) == set(ids(back.target))


def test_a_share_leaves_the_other_sets_whole() -> None:
    split = make_split(made(), "tr", seed=1, share=0.1)
    assert (len(split.dominant), len(split.validation), len(split.test)) == (60, 10, 30)
    assert split.notes["D_t pool"] == 40


def test_a_limit_holds_for_every_set_and_nests_with_the_share() -> None:
    split = make_split(made(), "tr", seed=1, limit=5)
    assert [len(one) for one in (split.dominant, split.target, split.validation, split.test)] == [
        5,
        5,
        5,
        5,
    ]
    assert set(ids(split.target)) <= set(ids(make_split(made(), "tr", seed=1, limit=8).target))
    assert ids(split.dominant) == sorted(ids(split.dominant))


def test_test_items_of_any_language() -> None:
    assert len(read_test(made(), "en", seed=1).examples) == 30
    limited = read_test(made(), "tr", seed=1, limit=7)
    assert len(limited.examples) == 7
    assert limited.files == (Path("test.tr"),)
    assert ids(limited.examples) == ids(make_split(made(), "tr", seed=1, limit=7).test)


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("en", {}, "'en' is made's dominant language.*choose one of tr, sw"),
        ("de", {}, r"made has no 'de' \(German\); it has en, tr, sw"),
        ("tr", {"share": 0.01}, "share of 0.01 of the 40 training items.*at least 0.025"),
        ("tr", {"share": 0.0}, "share of target data is 0.0"),
        ("tr", {"share": 1.5}, "share of target data is 1.5"),
        ("tr", {"limit": 0}, "limit of items is 0"),
    ],
)
def test_settings_that_leave_nothing(target: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_split(made(), target, seed=1, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tr_train": []}, "made, the 'train' items of 'tr': found none"),
        ({"en_train": []}, "made, the 'train' items of 'en': found none"),
        ({"tr_test": []}, "made, the 'test' items of 'tr': found none"),
        ({"tr_train": ["a", "b", "a"]}, "'train' items of 'tr': found the id 'a' more than once"),
        ({"tr_test": ["x", "025", "030"]}, "'tr': found the ids '025', '030' both in"),
        ({"tr_validation": ["025"]}, "'tr': found the id '025' both in the training items"),
    ],
)
def test_sets_that_cannot_be_trusted(changes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_split(made(**changes), "tr", seed=1)


def test_no_validation_set_is_fine() -> None:
    assert make_split(made(tr_validation=[]), "tr", seed=1).validation == ()


def test_test_items_parallel_to_dominant_training_items_are_noted() -> None:
    split = make_split(made(en_train=["a", "200", "201"]), "tr", seed=1)
    assert split.notes["D_s items with the id of a test item"] == 2


def test_real_low_resource_shares(real_data: Path) -> None:
    task = Xcopa(real_data)
    tenth, half = (make_split(task, "tr", seed=42, share=share) for share in (0.1, 0.5))
    assert (len(tenth.target), len(half.target), len(tenth.test)) == (10, 50, 500)
    assert set(ids(tenth.target)) <= set(ids(half.target))
    assert {one.id for one in tenth.target} <= {one.id for one in tenth.dominant}
    assert half.notes["D_t: mended questions"] == 52


@pytest.mark.parametrize("rule", ["article", "paper"])
def test_real_dominant_data_holds_no_test_item(real_data: Path, rule: str) -> None:
    split = make_split(Xquad(real_data, split_rule=rule), "tr", seed=42)
    assert not {one.id for one in split.dominant} & {one.id for one in split.test}
    assert "D_s items with the id of a test item" not in split.notes
    assert ids(split.dominant) == ids(split.target)
