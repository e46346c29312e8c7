from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isogloss.errors import ConfigError, DataError, Problem
from isogloss.tasks.example import Example, Rendered
from isogloss.tasks.own_data import OwnTask, check_task, load_task
from isogloss.tasks.reading import Record
from isogloss.tasks.splits import make_split

Row = dict[str, Any]
SUPPORT_ROUTING = Path(__file__).resolve().parents[2] / "examples" / "support_routing"

LABEL = """\
name: support_routing
kind: label
dominant: en
languages: [en, tr]
fields: [message]
answer: intent
id: id
options: [delivery, refund, payment]
wording:
  instruction: Say what the message is about.
  input: "Customer: {message}\\nTopic:"
files: "{language}/{split}.jsonl"
"""

CHOICE = """\
name: causes
kind: choice
dominant: en
languages: [en, sw]
fields: [premise, question]
answer: label
id: id
options: [choice1, choice2]
wording:
  input:
    default: "{premise} What was the {question}?\\n(A) {choice1}\\n(B) {choice2}\\nAnswer:"
    sw: "{premise} {question}"
  answer: {default: " ({letter})", sw: " {answer}"}
  words: {en: {cause: CAUSE}, sw: {cause: kwa sababu, effect: kwa hiyo}}
files: "{language}/{split}.jsonl"
"""

SPAN = """\
name: manuals
kind: span
dominant: en
languages: [en, tr]
fields: [passage, question]
answer: answers
id: id
context: passage
wording:
  input: "{passage}\\nQuestion: {question}\\nAnswer:"
files: "{language}/{split}.jsonl"
"""


def label_item(number: int, language: str, intent: str = "refund") -> Row:
    return {"id": number, "message": f"{language} message {number}", "intent": intent}


def choice_item(number: int, label: Any) -> Row:
    texts = {"premise": f"Premise {number}.", "choice1": f"One {number}."}
    return {"id": number, **texts, "choice2": f"Two {number}.", "question": "cause", "label": label}


def span_item(number: int, answers: Any) -> Row:
    return {"id": number, "passage": f"Part {number} is red.", "question": "?", "answers": answers}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """The rows in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        separator = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)


def write_task(folder: Path, yaml: str) -> Path:
    path = folder / "task.yaml"
    path.write_text(yaml, encoding="utf-8")
    return path


@pytest.fixture
def label_task(tmp_path: Path) -> Path:
    """A good label task: ids 1 and 2 are for training and parallel, 3 and 4 for the test."""
    for language in ("en", "tr"):
        rows = [label_item(1, language, "delivery"), label_item(2, language)]
        write_rows(tmp_path / language / "train.jsonl", rows)
        write_rows(
            tmp_path / language / "test.jsonl", [label_item(3, language), label_item(4, language)]
        )
    return write_task(tmp_path, LABEL)


def problems_of(path: Path) -> list[Problem]:
    return check_task(path)[1]


def only_problem(path: Path, name: str = "task.yaml") -> str:
    """The one problem of a task, with the file, which must be `name`, as that name alone."""
    (problem,) = problems_of(path)
    assert problem.file == str(path.parent / name)
    return str(replace(problem, file=name)).replace(f"{path.parent}/", "")


def yaml_problem(folder: Path, old: str, new: str, base: str = LABEL) -> str:
    """The one problem of a good YAML in which `old` stands as `new`."""
    assert old in base
    path = write_task(folder, base.replace(old, new))
    with pytest.raises(DataError) as caught:
        load_task(path)
    (problem,) = caught.value.problems
    return str(problem).removeprefix(f"{folder}/")


# Good tasks.


def test_a_label_task_is_read_and_rendered(label_task: Path) -> None:
    task = load_task(label_task)
    portion = task.read("tr", "train", seed=1)
    assert portion.examples[0] == Example(
        "1", "tr", {"message": "tr message 1"}, ("delivery", "refund", "payment"), ("delivery",)
    )
    assert portion.files == (label_task.parent / "tr/train.jsonl", label_task)
    assert task.render(portion.examples[1]) == Rendered(
        "2",
        "tr",
        "Customer: tr message 2\nTopic:",
        " refund",
        (" delivery", " refund", " payment"),
    )
    assert (task.name, task.kind, task.metric) == ("support_routing", "label", "accuracy")
    assert (task.dominant, task.languages, task.settings()) == ("en", ("en", "tr"), {})
    assert task.wording("tr").instruction == "Say what the message is about."


def test_a_good_task_checks_clean_with_a_row_for_each_file(label_task: Path) -> None:
    task, problems, rows = check_task(label_task)
    assert isinstance(task, OwnTask)
    assert problems == []
    assert [(row["language"], row["split"], row["items"]) for row in rows] == [
        ("en", "train", 2),
        ("en", "test", 2),
        ("tr", "train", 2),
        ("tr", "test", 2),
    ]
    assert rows[0]["file"] == str(label_task.parent / "en/train.jsonl")


def test_a_good_task_can_be_split(label_task: Path) -> None:
    split = make_split(load_task(label_task.parent), "tr", seed=1)
    assert [len(part) for part in (split.dominant, split.target, split.validation, split.test)] == [
        2,
        2,
        0,
        2,
    ]


def test_a_choice_task_takes_names_numbers_and_digits(tmp_path: Path) -> None:
    path = write_task(tmp_path, CHOICE)
    rows = [choice_item(1, "choice2"), choice_item(2, 0), choice_item(3, "1")]
    write_rows(tmp_path / "sw/train.jsonl", rows)
    task = load_task(path)
    examples = task.read("sw", "train", seed=1).examples
    assert [one.answers for one in examples] == [("choice2",), ("choice1",), ("choice2",)]
    assert task.render(examples[0]) == Rendered(
        "1", "sw", "Premise 1. kwa sababu", " Two 1.", (" One 1.", " Two 1.")
    )
    english = replace(examples[0], language="en")
    assert task.render(english) == Rendered(
        "1",
        "en",
        "Premise 1. What was the CAUSE?\n(A) One 1.\n(B) Two 1.\nAnswer:",
        " (B)",
        (" (A)", " (B)"),
    )


def test_a_span_task_takes_a_text_or_a_list(tmp_path: Path) -> None:
    path = write_task(tmp_path, SPAN)
    rows = [span_item(1, "red"), span_item(2, ["is red", "red", "red"])]
    write_rows(tmp_path / "en/train.jsonl", rows)
    task = load_task(path)
    examples = task.read("en", "train", seed=1).examples
    assert [one.answers for one in examples] == [("red",), ("is red", "red")]
    assert task.render(examples[1]) == Rendered(
        "2", "en", "Part 2 is red.\nQuestion: ?\nAnswer:", " is red"
    )
    assert task.metric == "f1"
    assert load_task(write_task(tmp_path, SPAN + "metric: exact_match\n")).metric == "exact_match"


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize(
    ("yaml", "rows"),
    [
        (LABEL, [label_item(1, "en"), {"id": 2, "message": 'a, "b"\tc\nd', "intent": "payment"}]),
        (CHOICE, [choice_item(1, 1), choice_item(2, "choice1")]),
        (SPAN, [span_item(1, "red"), span_item(2, "Part 2")]),
    ],
)
def test_tables_and_json_lines_give_the_same(
    tmp_path: Path, ending: str, yaml: str, rows: list[Row]
) -> None:
    write_rows(tmp_path / "en/train.jsonl", rows)
    write_rows(tmp_path / f"en/train.{ending}", rows)
    task = load_task(write_task(tmp_path, yaml))
    table = load_task(write_task(tmp_path, yaml.replace(".jsonl", f".{ending}")))
    examples = task.read("en", "train", seed=1).examples
    assert len(examples) == 2
    assert table.read("en", "train", seed=1).examples == examples


def test_numbers_and_booleans_become_text(tmp_path: Path) -> None:
    yaml = LABEL.replace("[delivery, refund, payment]", "[yes, no, true, 1, 2.50]")
    task = load_task(write_task(tmp_path, yaml.replace("[en, tr]", "[en, no]")))
    assert task.languages == ("en", "no")
    labels: list[Any] = ["yes", "no", True, 1, "2.50"]
    rows = [{"id": n, "message": n / 2, "intent": label} for n, label in enumerate(labels)]
    write_rows(tmp_path / "en/train.jsonl", rows)
    examples = task.read("en", "train", seed=1).examples
    assert [one.answers for one in examples] == [("yes",), ("no",), ("true",), ("1",), ("2.50",)]
    assert examples[1].fields["message"] == "0.5"


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("", ["tr-train-1", "tr-train-2"]),
        ("parallel_rows: false\n", ["tr-train-1", "tr-train-2"]),
        ("parallel_rows: true\n", ["train-1", "train-2"]),
    ],
)
def test_rows_count_as_ids_where_no_column_does(
    label_task: Path, line: str, ids: list[str]
) -> None:
    task = load_task(write_task(label_task.parent, LABEL.replace("id: id\n", line)))
    assert [one.id for one in task.read("tr", "train", seed=1).examples] == ids
    assert problems_of(label_task) == []


def test_labels_may_be_given_words(label_task: Path) -> None:
    yaml = LABEL.replace(
        "[delivery, refund, payment]", "{delivery: parcel, refund: money back, p: p}"
    )
    yaml = yaml.replace("files:", "  words: {tr: {delivery: kargo}, default: {p: pay}}\nfiles:")
    task = load_task(write_task(label_task.parent, yaml))
    english, turkish = (
        task.render(task.read(code, "train", seed=1).examples[0]) for code in ("en", "tr")
    )
    assert english.options == (" parcel", " money back", " pay")
    assert turkish.options == (" kargo", " money back", " pay")
    assert (english.answer, turkish.answer) == (" parcel", " kargo")


def test_files_may_be_named_one_by_one(tmp_path: Path) -> None:
    named = "files: {en: {train: a.csv}, tr: {train: b.jsonl, test: c.tsv}}"
    path = write_task(tmp_path, LABEL.replace('files: "{language}/{split}.jsonl"', named))
    write_rows(tmp_path / "a.csv", [label_item(1, "en")])
    write_rows(tmp_path / "b.jsonl", [label_item(1, "tr")])
    write_rows(tmp_path / "c.tsv", [label_item(2, "tr")])
    task, problems, rows = check_task(path)
    assert problems == []
    assert [row["file"] for row in rows] == [
        str(tmp_path / f) for f in ("a.csv", "b.jsonl", "c.tsv")
    ]
    assert task is not None
    with pytest.raises(DataError, match=r"field 'files': found no path for 'en', 'test'"):
        task.read("en", "test", seed=1)


def test_a_missing_file_is_an_error_but_for_validation(label_task: Path) -> None:
    (label_task.parent / "tr/test.jsonl").unlink()
    task = load_task(label_task)
    assert task.read("tr", "validation", seed=1).examples == ()
    with pytest.raises(DataError) as caught:
        task.read("tr", "test", seed=1)
    assert str(caught.value).startswith(f"{label_task.parent}/tr/test.jsonl: found no such file")
    assert "task.yaml, line 12, field 'files'" in str(caught.value)


def test_reading_says_every_problem_of_the_file(label_task: Path) -> None:
    rows = [label_item(1, "tr", "refnd"), label_item(1, "tr"), {"id": 3, "message": " "}]
    write_rows(label_task.parent / "tr/train.jsonl", rows)
    with pytest.raises(DataError) as caught:
        load_task(label_task).read("tr", "train", seed=1)
    places = [(problem.line, problem.field) for problem in caught.value.problems]
    assert places == [(1, "intent"), (2, "id"), (3, "message"), (3, "intent")]


def test_a_language_that_the_task_lacks_is_refused(label_task: Path) -> None:
    task = load_task(label_task)
    calls: list[Callable[[], object]] = [
        lambda: task.read("fr", "train", seed=1),
        lambda: task.wording("fr"),
        lambda: task.parse(Record("x", 1, {}), "fr"),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="support_routing has no 'fr'"):
            call()


# New items.


def test_a_new_item_needs_no_answer_and_no_id(label_task: Path) -> None:
    task = load_task(label_task)
    item = task.parse(Record("new.csv", 7, {"message": "Where is it?", "intent": ""}), "tr")
    assert item == Example(
        "7", "tr", {"message": "Where is it?"}, ("delivery", "refund", "payment")
    )
    assert task.render(item).answer == ""
    known = task.parse(Record("new.csv", 7, {"message": "a", "intent": "refund", "id": 5}), "tr")
    assert (known.id, known.answers) == ("5", ("refund",))


def test_a_new_item_must_have_its_fields_and_a_right_answer(label_task: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_task(label_task).parse(Record("new.csv", 7, {"mesage": "a", "intent": "x"}), "tr")
    assert str(caught.value) == (
        "new.csv, line 7, field 'message': found no value for it (there are 'mesage', 'intent'); "
        "expected a text or a number\n"
        "new.csv, line 7, field 'intent': found 'x'; expected one of delivery, refund, payment"
    )


def test_a_new_choice_needs_its_options(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path, CHOICE))
    with pytest.raises(DataError) as caught:
        task.parse(Record("new.csv", 1, {"premise": "a", "question": "b", "choice1": "c"}), "sw")
    assert [problem.field for problem in caught.value.problems] == ["choice2"]


# The YAML: (what stands in place of what, the problem).

YAML_PROBLEMS = [
    (
        "options:",
        "optins: 1\noptions:",
        "task.yaml, line 8, field 'optins': found the unknown key 'optins'; expected one of name, "
        "kind, dominant, languages, fields, answer, wording, files, description, id, "
        "parallel_rows, options, context, metric; did you mean 'options'?",
    ),
    (
        "name: support_routing\n",
        "",
        "task.yaml, line 1, field 'name': found no key 'name'; expected a name of the task",
    ),
    (
        "name: support_routing",
        "name: a/b",
        "task.yaml, line 1, field 'name': found 'a/b'; expected letters, digits, '_', '-' and '.' "
        "only, for folder names",
    ),
    ("[message]", "message", "line 5, field 'fields': found 'message'; expected a list, such as"),
    ("[message]", "[[message]]", "line 5, field 'fields': found a list; expected a text"),
    ("[message]", "[a.b]", "line 5, field 'fields': found 'a.b'; expected another column name"),
    ("[message]", "[message, message]", "field 'fields': found 'message' again (first in line 5)"),
    ("[message]", "[message, intent]", "field 'answer': found 'intent'; expected a column that is"),
    ("[en, tr]", "[en, tr, tr]", "line 4, field 'languages': found 'tr' again (first in line 4)"),
    ("[en, tr]", "[en]", "line 4, field 'languages': found 1; expected 2 or more"),
    ("[en, tr]", "[en, ../x]", "line 4, field 'languages': found '../x'; expected a code such as"),
    (
        "dominant: en",
        "dominant: eng",
        "line 3, field 'dominant': found 'eng'; expected one of the languages en, tr; did you mean",
    ),
    ("dominant: en", "dominant:", "line 3, field 'dominant': found nothing; expected a text"),
    ("[delivery, refund, payment]", "[refund]", "line 8, field 'options': found 1; expected 2 or"),
    ("[delivery, refund, payment]", "[a, a, b]", "line 8, field 'options': found 'a' again"),
    ("[delivery, refund, payment]", "[a, null]", "'options': found nothing; expected a text (in q"),
    ("[delivery, refund, payment]", "{a: 1, b: 1}", "'options': found the word '1' for both 'a'"),
    ("options: [delivery, refund, payment]\n", "", "'options': found no key 'options'; expected a"),
    ("files:", "metric: f1\nfiles:", "line 12, field 'metric': found 'f1'; expected accuracy, as"),
    (
        "files:",
        "context: message\nfiles:",
        "line 12, field 'context': found 'message'; expected",
    ),
    ("files:", "parallel_rows: maybe\nfiles:", "'parallel_rows': found 'maybe'; expected true or"),
    ("files:", "parallel_rows: true\nfiles:", "'parallel_rows': found both; expected either this"),
    ("{message}", "{mesage}", "line 11, field 'wording.input': found the unknown field {mesage};"),
    ("{message}", "{message.upper}", "'wording.input': found {message.upper}; expected a plain"),
    ("{message}", "{message[0]}", "'wording.input': found {message[0]}; expected a plain {name}"),
    ("{message}", "{}", "line 11, field 'wording.input': found {}; expected a plain {name}"),
    ("{message}", "{0}", "line 11, field 'wording.input': found {0}; expected a plain {name}"),
    ("{message}", "{message!r:>9}", "'wording.input': found {message!r:>9}; expected a plain"),
    ("{message}", "{message", "field 'wording.input': found a broken template ("),
    ("{message}", "message", "'wording.input': found a text without a column; expected at least"),
    ("Topic:", "Topic: ", "'wording.input': found a space or line break at the end; expected no"),
    ("files:", "  answer: x\nfiles:", "'wording.answer': found 'x'; expected {answer} or {letter}"),
    ("files:", "  word: {}\nfiles:", "line 12, field 'wording.word': found the unknown key 'word'"),
    ("files:", "  words: [a]\nfiles:", "'wording.words': found a list; expected a mapping"),
    ("files:", "  words: {fr: {a: b}}\nfiles:", "'wording.words.fr': found the unknown key 'fr'"),
    ("files:", "  words: {refund: payment}\nfiles:", "'wording.words': found the word 'payment'"),
    ("  input:", "  text:", "field 'wording.text': found the unknown key 'text'"),
    ("{split}", "x", "line 12, field 'files': found '{language}/x.jsonl'; expected {language} and"),
    (".jsonl", ".json", "'files': found '{language}/{split}.json'; expected a path that ends in"),
    ("name: s", "name: [s", "task.yaml, line 2: found broken YAML ("),
    ("kind: label", "kind: label\nkind: label", "line 3, field 'kind': found the key 'kind' again"),
]


@pytest.mark.parametrize(("old", "new", "problem"), YAML_PROBLEMS)
def test_each_yaml_problem_is_said(tmp_path: Path, old: str, new: str, problem: str) -> None:
    path = write_task(tmp_path, LABEL.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        load_task(path)
    assert problem in str(caught.value)
    assert len(caught.value.problems) == (2 if old == "  input:" else 1)


def test_the_keys_must_fit_the_kind(tmp_path: Path) -> None:
    assert yaml_problem(tmp_path, "kind: label", "kind: lable") == (
        "task.yaml, line 2, field 'kind': found 'lable'; expected choice, label or span; "
        "did you mean 'label'?"
    )
    assert yaml_problem(tmp_path, "context: passage", "options: [a, b]", SPAN) == (
        "task.yaml, line 8, field 'options': found options; expected no key 'options', "
        "as kind is span"
    )
    assert yaml_problem(tmp_path, "context: passage", "context: pasage", SPAN) == (
        "task.yaml, line 8, field 'context': found 'pasage'; expected one of the fields passage, "
        "question; did you mean 'passage'?"
    )
    assert yaml_problem(tmp_path, "context: passage", "metric: accuracy", SPAN) == (
        "task.yaml, line 8, field 'metric': found 'accuracy'; expected f1 or exact_match, "
        "as kind is span"
    )


def test_a_wording_without_a_default_needs_every_language(tmp_path: Path) -> None:
    assert yaml_problem(
        tmp_path, "    default:", "    en:", CHOICE.replace("    sw:", "    #")
    ) == (
        "task.yaml, line 10, field 'wording.input': found nothing for 'sw'; expected a text for "
        "every language, or a 'default'"
    )


def test_one_file_for_two_splits_is_refused(tmp_path: Path) -> None:
    named = "files:\n  en: {train: a.csv}\n  tr: {train: b.csv, test: b.csv, tset: c.csv}"
    path = write_task(tmp_path, LABEL.replace('files: "{language}/{split}.jsonl"', named))
    found = [f"{one.line} {one.field} {one.found}" for one in problems_of(path)]
    assert found == [
        "14 files.tr.tset the unknown key 'tset'",
        "14 files.tr.test 'b.csv', which is also the file of 'tr.train'",
    ]


def test_all_yaml_problems_come_at_once(tmp_path: Path) -> None:
    yaml = """\
nam: x
kind: label
dominant: de
languages: [en, tr]
fields: [message]
answer: [intent]
options: [a]
metric: f1
wording:
  input: {en: "{mesage} {0}"}
  answer: "none"
files: data.csv
"""
    with pytest.raises(DataError) as caught:
        load_task(write_task(tmp_path, yaml))
    assert {(problem.line, problem.field) for problem in caught.value.problems} == {
        (1, "nam"),
        (1, "name"),
        (3, "dominant"),
        (6, "answer"),
        (7, "options"),
        (8, "metric"),
        (10, "wording.input"),
        (10, "wording.input.en"),
        (11, "wording.answer"),
        (12, "files"),
    }
    assert len(caught.value.problems) == 11


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# nothing",
        b"null",
        b"name",
        b"- name\n- kind",
        b"1: 2\n3: {4: 5}",
        b"? [a]\n: b",
        b"a: &a [*a]",
        b"a: !!python/object/apply:os.system [ls]",
        b'"\\ud800": 1\nname: "\\ud800"',
        b'name: "\\0"',
        b'name: "\\UFFFFFFFF"',
        b"[" * 600,
        b"{a: " * 600,
        b"\x00\x01\x02",
        b"\xff\xfe\x00",
        b"name: x\n\tkind: y",
        b"a: 1\n---\nb: 2",
        b"files: {en: {train: {a: b}}}\nwording: [1]\noptions: {a: {b: c}}",
    ],
)
def test_odd_yaml_is_a_problem_and_no_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_task(path)
    assert str(caught.value).encode()
    task, problems, rows = check_task(path)
    assert task is None
    assert rows == []
    assert problems == list(caught.value.problems) != []


def test_a_missing_yaml_is_a_problem(tmp_path: Path) -> None:
    assert "found no such file" in str(problems_of(tmp_path / "none.yaml")[0])
    assert "found a folder" in str(problems_of(tmp_path)[0])


# The items: each breaks one thing of a good task.


def test_a_broken_json_line(label_task: Path) -> None:
    with (label_task.parent / "tr/test.jsonl").open("a") as stream:
        stream.write('{"id": 5,\n')
    assert only_problem(label_task, "tr/test.jsonl").startswith(
        "tr/test.jsonl, line 3: found broken JSON ("
    )


@pytest.mark.parametrize("line", ["9" * 5000, "[" * 100_000, '{"id": ' + "9" * 5000 + "}"])
def test_json_beyond_all_measure(label_task: Path, line: str) -> None:
    with (label_task.parent / "tr/test.jsonl").open("a") as stream:
        stream.write(line)
    assert ", line 3: found " in only_problem(label_task, "tr/test.jsonl")


def test_a_missing_column_is_said_once_a_file(label_task: Path) -> None:
    rows = [{"id": n, "mesage": f"{n}", "intent": "refund"} for n in (5, 6, 7)]
    write_rows(label_task.parent / "tr/test.jsonl", rows)
    assert only_problem(label_task, "tr/test.jsonl") == (
        "tr/test.jsonl, line 1, field 'message': found only the columns 'id', 'mesage', 'intent'; "
        "expected a column 'message'; did you mean 'mesage'?"
    )


def test_a_missing_column_of_a_table_is_said_at_its_header(tmp_path: Path) -> None:
    path = write_task(tmp_path, LABEL.replace(".jsonl", ".csv"))
    write_rows(tmp_path / "en/train.csv", [{"id": 1, "message": "a"}, {"id": 2, "message": "b"}])
    problem = problems_of(path)[-1]
    assert (problem.line, problem.field) == (1, "intent")


def test_a_short_row_of_a_table(tmp_path: Path) -> None:
    path = write_task(tmp_path, LABEL.replace(".jsonl", ".csv"))
    (tmp_path / "en").mkdir()
    (tmp_path / "en/train.csv").write_text("id,message,intent\n1,a,refund\n2,b\n")
    problem = problems_of(path)[-1]
    assert (problem.line, problem.field) == (3, "intent")
    assert problem.found == "no value for it (there are 'id', 'message')"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "nothing"),
        ("  ", "an empty text"),
        (["a"], "['a']"),
        (float("nan"), "nan"),
        ("\ud800", r"'\ud800'"),
    ],
)
def test_a_field_that_is_no_text(label_task: Path, value: Any, found: str) -> None:
    rows = [label_item(3, "tr"), {"id": 4, "message": value, "intent": "refund"}]
    write_rows(label_task.parent / "tr/test.jsonl", rows)
    assert only_problem(label_task, "tr/test.jsonl") == (
        f"tr/test.jsonl, line 2, field 'message': found {found}; expected a text or a number"
    )


def test_a_label_that_is_no_option(label_task: Path) -> None:
    write_rows(label_task.parent / "tr/test.jsonl", [label_item(3, "tr", "Refnd ")])
    assert only_problem(label_task, "tr/test.jsonl") == (
        "tr/test.jsonl, line 1, field 'intent': found 'Refnd '; expected one of delivery, refund, "
        "payment; did you mean 'refund'?"
    )


@pytest.mark.parametrize("label", [2, -1, "choice3", "2", 1.0, True, "9" * 5000])
def test_a_choice_that_is_no_option(tmp_path: Path, label: Any) -> None:
    path = write_task(tmp_path, CHOICE)
    write_rows(tmp_path / "en/train.jsonl", [choice_item(1, 0), choice_item(2, label)])
    problem = problems_of(path)[-1]
    assert (problem.line, problem.field) == (2, "label")
    assert problem.expected.startswith("one of choice1, choice2 or 0 to 1")


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ("blue", "'blue'"),
        (["red", "blue"], "'blue'"),
        ([], "an empty list"),
        (["red", 7], "7"),
        (["red", " "], "an empty text"),
        (None, "nothing"),
        ({"text": "red"}, "{'text': 'red'}"),
    ],
)
def test_a_span_that_is_not_in_its_context(tmp_path: Path, answers: Any, found: str) -> None:
    path = write_task(tmp_path, SPAN)
    write_rows(tmp_path / "en/train.jsonl", [span_item(1, answers)])
    problem = problems_of(path)[-1]
    assert (problem.line, problem.field, problem.found) == (1, "answers", found)


def test_an_id_twice_names_both_lines(label_task: Path) -> None:
    rows = [label_item(3, "tr"), label_item(4, "tr"), {**label_item(5, "tr"), "id": "3"}]
    write_rows(label_task.parent / "tr/test.jsonl", rows)
    assert only_problem(label_task, "tr/test.jsonl") == (
        "tr/test.jsonl, line 3, field 'id': found '3' again (first in line 1); "
        "expected each id once"
    )


def test_an_empty_file(label_task: Path) -> None:
    (label_task.parent / "tr/validation.jsonl").write_text("\n")
    assert only_problem(label_task, "tr/validation.jsonl").endswith(
        "found an empty file; expected at least one item"
    )


def test_a_table_of_a_header_only(tmp_path: Path) -> None:
    path = write_task(tmp_path, LABEL.replace(".jsonl", ".csv"))
    (tmp_path / "en").mkdir()
    (tmp_path / "en/train.csv").write_text("id,message,intent\n")
    assert str(problems_of(path)[-1]).endswith("line 1: found no items; expected at least one")


def test_no_training_file_in_the_dominant_language(label_task: Path) -> None:
    (label_task.parent / "en/train.jsonl").unlink()
    assert only_problem(label_task, "en/train.jsonl") == (
        "en/train.jsonl: found no such file; expected the training items of the dominant language "
        "'en' (named by task.yaml, line 12, field 'files')"
    )


def test_no_language_to_carry_to(label_task: Path) -> None:
    (label_task.parent / "tr/test.jsonl").unlink()
    assert only_problem(label_task) == (
        "task.yaml, line 4, field 'languages': found no test file for 'tr'; expected both for at "
        "least one language beside 'en'"
    )


def test_a_second_language_with_only_some_files(label_task: Path) -> None:
    write_task(label_task.parent, LABEL.replace("[en, tr]", "[en, tr, es]"))
    assert "found 'es', which has no train and no test file" in only_problem(label_task)
    write_rows(label_task.parent / "es/test.jsonl", [label_item(3, "es")])
    assert problems_of(label_task) == []
    (label_task.parent / "es/test.jsonl").rename(label_task.parent / "es/train.jsonl")
    assert "expected the test items of 'es'" in str(problems_of(label_task)[0])


def test_ids_that_are_not_parallel(label_task: Path) -> None:
    rows = [label_item(number, "tr") for number in (7, 8)]
    write_rows(label_task.parent / "tr/train.jsonl", rows)
    assert only_problem(label_task, "tr/train.jsonl") == (
        "tr/train.jsonl, line 1, field 'id': found 0 of 2 ids among those of en/train.jsonl; "
        "expected parallel ids: give an item and its translation the same id, or, if the "
        "languages hold different items, take the key 'id' out of task.yaml"
    )


@pytest.mark.parametrize("split", ["test", "validation"])
def test_an_id_of_a_training_item_in_a_held_out_set(label_task: Path, split: str) -> None:
    write_rows(label_task.parent / f"tr/{split}.jsonl", [{**label_item(9, "tr"), "id": 2}])
    assert only_problem(label_task, f"tr/{split}.jsonl") == (
        f"tr/{split}.jsonl, line 1, field 'id': found the id '2', also in tr/train.jsonl, line 2; "
        f"expected no {split} item that is among the training items too"
    )


def test_the_texts_of_a_training_item_in_the_test(label_task: Path) -> None:
    write_rows(label_task.parent / "tr/test.jsonl", [{**label_item(1, "tr"), "id": 3}])
    assert only_problem(label_task, "tr/test.jsonl") == (
        "tr/test.jsonl, line 1, field 'message': found the very texts of tr/train.jsonl, line 1; "
        "expected no test item that is among the training items too"
    )


@pytest.mark.parametrize("line", ["id: id\n", "parallel_rows: true\n"])
def test_translations_with_different_answers(label_task: Path, line: str) -> None:
    write_task(label_task.parent, LABEL.replace("id: id\n", line))
    rows = [label_item(1, "tr", "delivery"), label_item(2, "tr", "payment")]
    write_rows(label_task.parent / "tr/train.jsonl", rows)
    number = "2" if "id" in line.split(":") else "train-2"
    assert only_problem(label_task, "tr/train.jsonl") == (
        f"tr/train.jsonl, line 2, field 'intent': found 'payment' for the id '{number}'; expected "
        "'refund' as in en/train.jsonl, line 2, or another id"
    )


def test_rows_are_not_compared_after_a_broken_line(label_task: Path) -> None:
    write_task(label_task.parent, LABEL.replace("id: id\n", "parallel_rows: true\n"))
    path = label_task.parent / "tr/train.jsonl"
    path.write_text("{\n" + path.read_text())
    assert only_problem(label_task, "tr/train.jsonl").startswith("tr/train.jsonl, line 1: found b")


def test_all_problems_of_the_yaml_and_all_files_come_at_once(label_task: Path) -> None:
    folder = label_task.parent
    write_task(folder, LABEL + "metric: f1\nextra: 1\n")
    write_rows(folder / "en/train.jsonl", [label_item(1, "en", "x"), label_item(2, "en")])
    write_rows(folder / "en/test.jsonl", [{**label_item(3, "en"), "message": None}])
    write_rows(folder / "tr/train.jsonl", [label_item(2, "tr", "payment"), label_item(2, "tr")])
    write_rows(folder / "tr/test.jsonl", [label_item(2, "tr")])
    task, problems, rows = check_task(label_task)
    assert task is None
    places = [(Path(one.file).relative_to(folder), one.line, one.field) for one in problems]
    assert [(str(file), line, field) for file, line, field in places] == [
        ("task.yaml", 14, "extra"),
        ("task.yaml", 13, "metric"),
        ("en/train.jsonl", 1, "intent"),
        ("en/test.jsonl", 1, "message"),
        ("tr/train.jsonl", 2, "id"),
        ("tr/test.jsonl", 1, "id"),
        ("tr/train.jsonl", 1, "intent"),
    ]
    assert [row["items"] for row in rows] == [1, 0, 2, 1]


def test_the_example_of_the_repository() -> None:
    path = SUPPORT_ROUTING / "task.yaml"
    files = [
        SUPPORT_ROUTING / code / f"{split}.jsonl"
        for code in ("en", "tr", "es")
        for split in ("train", "test")
    ]
    if not all(file.is_file() for file in (path, *files)):
        pytest.skip("examples/support_routing is not there")
    task, problems, rows = check_task(path)
    assert problems == []
    assert task is not None
    assert set(task.languages) >= {"en", "tr", "es"}
    assert len(rows) >= 6
    assert all(int(str(row["items"])) > 0 for row in rows)


def test_the_tasks_of_the_documentation_load(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "own_task.md"
    blocks = page.read_text(encoding="utf-8").split("```yaml\n")[1:]
    tasks = [load_task(write_task(tmp_path, block.partition("```")[0])) for block in blocks]
    assert [task.kind for task in tasks] == ["label", "label", "choice", "span"]
