from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from isogloss.errors import ConfigError, DataError
from isogloss.tasks.reading import Record
from isogloss.tasks.xcopa import Xcopa


def item(idx: int, question: str = "cause", **changes: Any) -> dict[str, Any]:
    texts = {"premise": f"Premise {idx}.", "choice1": f"One {idx}.", "choice2": f"Two {idx}."}
    return {**texts, "question": question, "label": idx % 2, "idx": idx, **changes}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def unlabelled(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "label"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two items a file; in Turkish all questions say "effect", as in the release."""
    write(tmp_path / "copa/train.jsonl", [item(0, "effect"), item(1)])
    write(tmp_path / "copa/val.jsonl", [item(0), item(1, "effect")])
    write(tmp_path / "copa/test.jsonl", [unlabelled(item(0)), unlabelled(item(1))])
    for part in ("val", "test"):
        rows = [item(0, "effect", changed=False), item(1, "effect", changed=True)]
        write(tmp_path / f"xcopa/tr/{part}.tr.jsonl", rows)
    return tmp_path


def test_english_trains_on_two_parts_and_others_on_the_parallel_one(folder: Path) -> None:
    task = Xcopa(folder)
    english = task.read("en", "train", seed=1)
    turkish = task.read("tr", "train", seed=1)
    assert [one.id for one in english.examples] == ["train-0", "train-1", "val-0", "val-1"]
    assert [one.id for one in turkish.examples] == ["val-0", "val-1"]
    assert english.files == (folder / "copa/train.jsonl", folder / "copa/val.jsonl")
    assert turkish.examples[1].answers == ("choice2",)
    assert turkish.examples[1].options == ("choice1", "choice2")


def test_wrong_questions_are_mended_from_english_and_counted(folder: Path) -> None:
    portion = Xcopa(folder).read("tr", "train", seed=1)
    assert [one.fields["question"] for one in portion.examples] == ["cause", "effect"]
    assert portion.notes == {"mended questions": 1}
    assert portion.files == (folder / "xcopa/tr/val.tr.jsonl", folder / "copa/val.jsonl")


def test_raw_questions_stand_and_need_no_english(folder: Path) -> None:
    (folder / "copa/val.jsonl").unlink()
    portion = Xcopa(folder, raw_questions=True).read("tr", "train", seed=1)
    assert [one.fields["question"] for one in portion.examples] == ["effect", "effect"]
    assert portion.notes == {}


def test_without_english_the_error_says_both_ways_out(folder: Path) -> None:
    (folder / "copa/val.jsonl").unlink()
    with pytest.raises(DataError) as caught:
        Xcopa(folder).read("tr", "train", seed=1)
    for part in ("copa/val.jsonl", "put SuperGLUE's COPA", "take the questions raw"):
        assert part in str(caught.value)


def test_english_test_labels_come_from_xcopa(folder: Path) -> None:
    portion = Xcopa(folder).read("en", "test", seed=1)
    assert [one.answers for one in portion.examples] == [("choice1",), ("choice2",)]
    assert portion.notes == {"labels from XCOPA": 2}
    (folder / "xcopa/tr/test.tr.jsonl").unlink()
    with pytest.raises(DataError, match="without labels"):
        Xcopa(folder).read("en", "test", seed=1)


def test_an_english_test_item_without_a_label_is_named(folder: Path) -> None:
    write(folder / "xcopa/tr/test.tr.jsonl", [item(0)])
    with pytest.raises(DataError, match=r"test\.jsonl, line 2, field 'idx': found 1; .*'label'"):
        Xcopa(folder).read("en", "test", seed=1)


def test_there_is_no_validation_set(folder: Path) -> None:
    assert Xcopa(folder).read("tr", "validation", seed=1).examples == ()


@pytest.mark.parametrize("place", ["xcopa/", "", "data/", "xcopa/data/"])
@pytest.mark.parametrize("copa", ["copa", "COPA"])
def test_layouts(tmp_path: Path, place: str, copa: str) -> None:
    write(tmp_path / f"{place}qu/val.qu.jsonl", [item(3)])
    write(tmp_path / f"{copa}/val.jsonl", [item(3)])
    assert [one.id for one in Xcopa(tmp_path).read("qu", "train", seed=1).examples] == ["val-3"]


def test_all_problems_of_a_file_are_told_with_line_and_field(folder: Path) -> None:
    rows = [
        item(0, label=2),
        item(1, "why"),
        item(1),
        item(2, premise=" "),
        {**item(0), "idx": "x"},
    ]
    write(folder / "xcopa/tr/val.tr.jsonl", rows)
    with pytest.raises(DataError) as caught:
        Xcopa(folder).read("tr", "train", seed=1)
    told = [(problem.line, problem.field) for problem in caught.value.problems]
    assert [line for line, _ in told] == [1, 2, 3, 4, 4, 5]
    assert {*told} == {
        (1, "label"),
        (2, "question"),
        (3, "idx"),
        (4, "premise"),
        (4, "idx"),
        (5, "idx"),
    }
    message = str(caught.value)
    for part in ("found 2; expected 0 or 1", "found 'why'", "first in line 2", "an empty text"):
        assert part in message
    assert all(problem.file.endswith("val.tr.jsonl") for problem in caught.value.problems)


def test_broken_json_and_broken_values_are_told_together(folder: Path) -> None:
    with (folder / "copa/train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"premise": \n' + json.dumps(item(7, label=None)) + "\n")
    with pytest.raises(DataError) as caught:
        Xcopa(folder).read("en", "train", seed=1)
    assert [problem.line for problem in caught.value.problems] == [3, 4]


def test_a_language_that_xcopa_lacks(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"XCOPA has no 'de' \(German\); it has en, et, ht"):
        Xcopa(folder).read("de", "test", seed=1)


def test_the_hub_is_read_where_no_folder_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(hub_id: str, config: str, *, split: str) -> datasets.Dataset:
        rows = {
            ("cambridgeltl/xcopa", "tr", "validation"): [item(0, "effect")],
            ("aps/super_glue", "copa", "validation"): [item(0)],
            ("aps/super_glue", "copa", "test"): [item(0, label=-1)],
            ("cambridgeltl/xcopa", "et", "test"): [item(0, label=1)],
        }
        return datasets.Dataset.from_list(rows[hub_id, config, split])

    monkeypatch.setattr(datasets, "load_dataset", load)
    task = Xcopa(None)
    portion = task.read("tr", "train", seed=1)
    assert (portion.notes, portion.files) == ({"mended questions": 1}, ())
    assert task.read("en", "test", seed=1).examples[0].answers == ("choice2",)


def test_a_new_item_needs_no_label() -> None:
    values = {key: value for key, value in item(4).items() if key not in ("label", "idx")}
    example = Xcopa(None).parse(Record("new.jsonl", 9, values), "tr")
    assert (example.id, example.answers) == ("9", ())
    assert Xcopa(None).parse(Record("new.jsonl", 9, item(5)), "tr").answers == ("choice2",)
    with pytest.raises(DataError, match=r"new\.jsonl, line 9, field 'choice2': found nothing"):
        Xcopa(None).parse(Record("new.jsonl", 9, {**values, "choice2": None}), "tr")


def test_harness_wording_joins_a_sentence() -> None:
    task = Xcopa(None, wording_name="harness")
    texts = {"premise": "Işık söndü.", "choice1": "İp koptu.", "choice2": "Irmak taştı."}
    record = Record("new.jsonl", 1, {**texts, "question": "cause", "label": 1})
    rendered = task.render(task.parse(record, "tr"))
    assert rendered.input == "Işık söndü çünkü"
    assert rendered.options == (" ip koptu.", " ırmak taştı.")
    assert rendered.answer == " ırmak taştı."


def test_both_wordings_are_there_for_every_language() -> None:
    for language in Xcopa(None).languages:
        assert Xcopa(None, wording_name="harness").wording(language).words["cause"]
        assert Xcopa(None).wording(language) == Xcopa(None).wording("en")


@pytest.mark.parametrize(
    ("language", "validation", "test"),
    [("tr", 52, 51), ("sw", 6, 37), ("it", 5, 4), ("id", 5, 4), ("zh", 0, 0), ("qu", 0, 0)],
)
def test_real_data_is_mended(real_data: Path, language: str, validation: int, test: int) -> None:
    task = Xcopa(real_data)
    training, held_out = (task.read(language, split, seed=1) for split in ("train", "test"))
    assert (len(training.examples), len(held_out.examples)) == (100, 500)
    assert training.notes == {"mended questions": validation}
    assert held_out.notes == {"mended questions": test}


def test_real_data_is_parallel_and_agrees_with_english(real_data: Path) -> None:
    task = Xcopa(real_data)
    for split, count in (("train", 100), ("test", 500)):
        english = {one.id: one for one in task.read("en", split, seed=1).examples}
        turkish = task.read("tr", split, seed=1).examples
        assert sum(one.id in english for one in turkish) == count
        assert all(one.answers == english[one.id].answers for one in turkish)
        assert all(one.fields["question"] == english[one.id].fields["question"] for one in turkish)


def test_a_real_prompt(real_data: Path) -> None:
    task = Xcopa(real_data)
    rendered = task.render(task.read("tr", "test", seed=1).examples[0])
    assert rendered.input == (
        "Here is a premise and a question. Pick the more plausible option.\n"
        "Premise: Ürün balonlu naylonla paketlenmişti.\n"
        "Question: What is the cause?\n"
        "(A) Kırılgandı.\n"
        "(B) Küçüktü.\n"
        "Answer:"
    )
    assert (rendered.answer, rendered.options) == (" (A)", (" (A)", " (B)"))
