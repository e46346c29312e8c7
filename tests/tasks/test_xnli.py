from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from isogloss.errors import ConfigError, DataError
from isogloss.tasks.reading import Record
from isogloss.tasks.xnli import Xnli
from isogloss.tasks.xnli_rows import LABELS


def row(language: str, number: int, **changes: Any) -> dict[str, Any]:
    return {
        "language": language,
        "gold_label": LABELS[number % 3],
        "sentence1": f'{language} "premise" {number}.',
        "sentence2": f"{language} hypothesis {number}",
        "pairID": str(number * 7),
        **changes,
    }


def rows(count: int, *languages: str) -> list[dict[str, Any]]:
    return [row(language, number) for language in languages for number in range(count)]


def write(path: Path, entries: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tsv":
        lines = ["\t".join(entries[0])] + ["\t".join(entry.values()) for entry in entries]
    else:
        lines = [json.dumps(entry) for entry in entries]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_translated(path: Path, language: str, count: int) -> None:
    labels = ("entailment", "neutral", "contradictory")
    entries = [
        {"premise": f'{language} "p" {n}', "hypo": f"h {n}" if n else "", "label": labels[n % 3]}
        for n in range(count)
    ]
    write(path / f"multinli.train.{language}.tsv", entries)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "xnli/xnli.dev.jsonl", rows(20, "en", "sw"))
    write(tmp_path / "xnli/xnli.test.jsonl", rows(30, "sw", "en"))
    return tmp_path


def small(folder: Path, **changes: Any) -> Xnli:
    sizes = {"train_size": 6, "test_size": 8, "validation_size": 5, "held_out_size": 4}
    return Xnli(folder, **{**sizes, **changes})


def ids(task: Xnli, language: str, split: Any, seed: int = 1) -> list[str]:
    return [one.id for one in task.read(language, split, seed=seed).examples]


def test_without_translations_dev_rows_train_and_others_validate(folder: Path) -> None:
    task = small(folder)
    training, validation = ids(task, "sw", "train"), ids(task, "sw", "validation")
    assert (len(training), len(validation)) == (6, 4)
    assert not set(training) & set(validation)
    assert all(name.startswith("dev-") for name in training + validation)
    assert len(ids(task, "sw", "test")) == 8


def test_a_seed_takes_the_same_rows_in_every_language(folder: Path) -> None:
    task = small(folder)
    for split in ("train", "validation", "test"):
        assert ids(task, "sw", split) == ids(task, "en", split)
        assert ids(task, "sw", split) != ids(task, "sw", split, seed=2)


def test_samples_keep_the_order_of_the_file(folder: Path) -> None:
    numbers = [int(name.split("-")[1]) for name in ids(small(folder), "sw", "test")]
    assert numbers == sorted(numbers)


def test_too_few_rows_are_counted_and_leave_no_validation(folder: Path) -> None:
    portion = small(folder, train_size=25).read("sw", "train", seed=1)
    assert (len(portion.examples), portion.notes) == (20, {"rows fewer than asked": 5})
    assert ids(small(folder, train_size=17), "sw", "validation") == []


def test_rows_without_a_gold_label_are_left_out_and_counted(tmp_path: Path) -> None:
    entries = [
        row(language, number, **({"gold_label": "-"} if number < 3 else {}))
        for language in ("en", "tr")
        for number in range(9)
    ]
    write(tmp_path / "xnli.test.jsonl", entries)
    portion = small(tmp_path).read("tr", "test", seed=1)
    assert len(portion.examples) == 6
    assert portion.notes == {"rows without a gold label": 3, "rows fewer than asked": 2}


@pytest.mark.parametrize("place", ["xnli/", "", "XNLI-1.0/", "xnli/XNLI-1.0/"])
@pytest.mark.parametrize("ending", ["jsonl", "tsv"])
def test_layouts(tmp_path: Path, place: str, ending: str) -> None:
    path = write(tmp_path / f"{place}xnli.test.{ending}", rows(3, "tr"))
    portion = small(tmp_path).read("tr", "test", seed=1)
    assert portion.files == (path,)
    assert portion.examples[1].fields["premise"] == 'tr "premise" 1.'
    assert portion.examples[1].answers == ("neutral",)


@pytest.mark.parametrize("place", ["XNLI-MT-1.0/multinli", "xnli/XNLI-MT-1.0/multinli", "."])
def test_translated_rows_train_where_they_are(folder: Path, place: str) -> None:
    for language in ("en", "sw"):
        write_translated(folder / place, language, 12)
    task = small(folder)
    training = task.read("sw", "train", seed=1)
    assert len(training.examples) == 6
    assert ids(task, "sw", "train") == ids(task, "en", "train")
    assert all(one.id.startswith("train-") for one in training.examples)
    assert {answer for one in training.examples for answer in one.answers} <= set(LABELS)
    assert training.files[0].name == "multinli.train.sw.tsv"
    validation = ids(task, "sw", "validation")
    assert len(validation) == 5
    assert all(name.startswith("dev-") for name in validation)


def test_the_row_of_a_translated_item_is_its_id(folder: Path) -> None:
    for language in ("en", "sw"):
        write_translated(folder, language, 12)
    training = small(folder, train_size=12).read("sw", "train", seed=1).examples
    assert [one.id for one in training] == [f"train-{number}" for number in range(1, 13)]
    assert training[2].fields["premise"] == 'sw "p" 2'
    assert training[0].fields["hypothesis"] == ""  # as a translation by machine may come out
    assert training[2].answers == ("contradiction",)


def test_english_alone_is_no_translation(folder: Path) -> None:
    write_translated(folder, "en", 12)
    assert all(name.startswith("dev-") for name in ids(small(folder), "en", "train"))


def test_a_translation_missing_in_one_language_is_told(folder: Path) -> None:
    for language in ("en", "tr"):
        write_translated(folder, language, 12)
    with pytest.raises(DataError, match=r"'sw'(.|\n)*move them all away to train on the dev set"):
        ids(small(folder), "sw", "train")


def test_translations_of_unlike_length_are_told(folder: Path) -> None:
    write_translated(folder, "en", 12)
    write_translated(folder, "sw", 11)
    with pytest.raises(DataError, match=r"sw\.tsv: found 11 rows; expected 12, as in English"):
        ids(small(folder), "sw", "train")


def test_rows_unlike_the_english_ones_are_told(folder: Path) -> None:
    entries = rows(20, "en", "sw")
    entries[23]["pairID"] = "999"
    entries[25]["gold_label"] = "neutral"
    write(folder / "xnli/xnli.dev.jsonl", entries)
    with pytest.raises(DataError) as caught:
        ids(small(folder), "sw", "train")
    message = str(caught.value)
    assert "line 24: found dev-999 (entailment), one of 2 rows unlike" in message
    assert "expected dev-21 (entailment)" in message


def test_a_language_that_the_file_lacks_is_told_with_those_it_has(folder: Path) -> None:
    with pytest.raises(DataError, match=r"field 'language': found no rows in 'zh'.*: en, sw"):
        small(folder).read("zh", "test", seed=1)
    with pytest.raises(ConfigError, match=r"XNLI has no 'it' \(Italian\)"):
        small(folder).read("it", "test", seed=1)


def test_all_problems_of_a_file_are_told_with_line_and_field(tmp_path: Path) -> None:
    entries = [
        row("tr", 0, gold_label="maybe"),
        row("tr", 1, sentence1=""),
        row("tr", 2, pairID=None),
        {key: value for key, value in row("tr", 3).items() if key != "sentence2"},
        {key: value for key, value in row("tr", 4).items() if key != "language"},
    ]
    write(tmp_path / "xnli.dev.jsonl", entries)
    with pytest.raises(DataError) as caught:
        ids(small(tmp_path), "tr", "train")
    told = sorted((problem.line, problem.field) for problem in caught.value.problems)
    wanted = ["gold_label", "sentence1", "pairID", "sentence2", "language"]
    assert told == list(enumerate(wanted, start=1))
    assert "found 'maybe'; expected 'entailment' or 'neutral'" in str(caught.value)


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"xnli/xnli\.test\.jsonl(.|\n)*facebookresearch/XNLI"):
        small(tmp_path).read("tr", "test", seed=1)


def test_sizes_must_be_possible() -> None:
    with pytest.raises(ConfigError, match="test_size is 0; give 1 or more"):
        Xnli(None, test_size=0)


def test_the_hub_is_read_where_no_folder_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(hub_id: str, config: str, *, split: str) -> datasets.Dataset:
        assert hub_id == "facebook/xnli"
        entries = [
            {"premise": f"{config} {split} {n}", "hypothesis": "h", "label": n % 3}
            for n in range(9)
        ]
        return datasets.Dataset.from_list(entries)

    monkeypatch.setattr(datasets, "load_dataset", load)
    task = Xnli(None, train_size=9, test_size=2, validation_size=3)
    training = task.read("tr", "train", seed=1).examples
    assert [one.id for one in training][:2] == ["train-1", "train-2"]
    assert training[2].answers == ("contradiction",)
    assert training[2].fields["premise"] == "tr train 2"
    assert len(task.read("tr", "validation", seed=1).examples) == 3
    assert task.read("tr", "test", seed=1).examples[0].id.startswith("test-")


def test_a_new_item_under_either_layouts_names() -> None:
    new = Record("new.jsonl", 3, {"premise": "P.", "hypothesis": "H."})
    assert Xnli(None).parse(new, "tr").answers == ()
    assert Xnli(None).parse(new, "tr").id == "3"
    official = Xnli(None).parse(Record("new.jsonl", 3, row("tr", 1)), "tr")
    assert (official.id, official.answers) == ("7", ("neutral",))
    with pytest.raises(DataError, match="line 3, field 'hypothesis': found nothing"):
        Xnli(None).parse(Record("new.jsonl", 3, {"premise": "P."}), "tr")


def test_harness_wording_is_a_confirmed_sentence() -> None:
    task = Xnli(None, wording_name="harness")
    record = Record("new.jsonl", 1, {"premise": "他走了。", "hypothesis": "他在家。", "label": 2})
    rendered = task.render(task.parse(record, "zh"))
    assert rendered.input == "他走了"
    assert rendered.answer == ", 正确? 不是的, 他在家。"
    assert rendered.options[0] == ", 正确? 是的, 他在家。"


def test_both_wordings_are_there_for_every_language() -> None:
    task = Xnli(None, wording_name="harness")
    assert len(task.languages) == 15
    for language in task.languages:
        assert set(task.wording(language).words) == set(LABELS)


def test_real_data_is_sampled_in_parallel(real_data: Path) -> None:
    task = Xnli(real_data)
    english, swahili, chinese = (task.read(one, "train", seed=42) for one in ("en", "sw", "zh"))
    assert len(swahili.examples) == 1000
    pairs = [(one.id, one.answers) for one in english.examples]
    assert pairs == [(one.id, one.answers) for one in swahili.examples]
    assert pairs == [(one.id, one.answers) for one in chinese.examples]
    assert len(task.read("sw", "validation", seed=42).examples) == 200
    assert ids(task, "sw", "test", seed=42) == ids(task, "en", "test", seed=42)


def test_a_real_prompt(real_data: Path) -> None:
    task = Xnli(real_data, test_size=5010)
    rendered = task.render(task.read("en", "test", seed=1).examples[0])
    assert rendered.input == (
        "Premise: Well, I wasn't even thinking about that, but I was so frustrated, and, I ended "
        "up talking to him again.\n"
        "Hypothesis: I havent spoken to him again.\n"
        "The relationship can be chosen from entailment, contradiction, and neutral.\n"
        "Relationship:"
    )
    assert rendered.answer == " contradiction"
    assert rendered.options == (" entailment", " neutral", " contradiction")
