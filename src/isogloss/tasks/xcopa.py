"""XCOPA and English COPA (Section 6.1): which of two sentences is a premise's cause or effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, final

from isogloss.errors import DataError, Problem
from isogloss.languages import check_language
from isogloss.tasks.example import Example, Portion, SplitName, Task, Wording
from isogloss.tasks.reading import Record, read_json_lines
from isogloss.tasks.sources import (
    Source,
    coded,
    described,
    find_file,
    find_optional,
    hub_records,
    required_text,
)
from isogloss.tasks.wordings import (
    WORDING_NAMES,
    check_choice,
    harness_row,
    lower_first,
    without_final_mark,
)

# The form of AdaMergeX (Zhao et al., 2025b) without its opening sentence.
_DEFAULT_WORDING = Wording(
    input=(
        "Here is a premise and a question. Pick the more plausible option.\n"
        "Premise: {premise}\nQuestion: What is the {question}?\n"
        "(A) {choice1}\n(B) {choice2}\nAnswer:"
    ),
    answer=" ({letter})",
    instruction="Here is a premise and a question. Pick the more plausible option.",
)

# Words for (cause, effect) of lm-evaluation-harness, lm_eval/tasks/xcopa/utils.py; English: COPA.
_CONNECTORS: Mapping[str, tuple[str, str]] = {
    "en": ("because", "therefore"),
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}

_LABELS: Mapping[str | int, str] = {0: "choice1", 1: "choice2"}
_QUESTIONS: Mapping[str | int, str] = {"cause": "cause", "effect": "effect"}

_XCOPA_PLACES = ("xcopa/", "", "data/", "xcopa/data/")
_COPA_PLACES = ("copa/", "COPA/")
_XCOPA_ADVICE = "Get it from https://github.com/cambridgeltl/xcopa, or read XCOPA from the hub."
_COPA_ADVICE = (
    "It is COPA of SuperGLUE (train.jsonl, val.jsonl, test.jsonl): put it in a folder 'copa' there."
)
_MEND_ADVICE = (
    "The field 'question' of some XCOPA files is wrong and is mended from English COPA: "
    "put SuperGLUE's COPA in a folder 'copa' there, or take the questions raw."
)

Part = Literal["train", "val", "test"]
_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}


@final
@dataclass(frozen=True)
class _Rows:
    """The records of one file on their way to examples."""

    records: Sequence[Record]
    files: tuple[Path, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Xcopa(Task):
    """XCOPA with English COPA as the dominant language.

    English trains on COPA's train and validation sets, the others on XCOPA's validation set; all
    are tested on the 500 test items. No validation set is left. Ids say the part and the item's
    `idx`, so that XCOPA's validation items are parallel to COPA's ("val-7").

    `folder` None is the hub. XCOPA's `question` field is wrong in parts of several languages
    (Turkish: 52 of 100 and 51 of 500) and is mended from English, unless `raw_questions`.
    """

    folder: Source
    raw_questions: bool = False
    wording_name: str = "default"

    name = "xcopa"
    kind = "choice"
    metric = "accuracy"
    dominant = "en"
    languages = tuple(_CONNECTORS)

    def __post_init__(self) -> None:
        check_choice(self.wording_name, WORDING_NAMES, "wording")

    def read(self, language: str, split: SplitName, *, seed: int) -> Portion:
        """The examples of one language and split; nothing is drawn, so `seed` changes nothing."""
        check_language(language, self.languages, "XCOPA")
        problems: list[Problem] = []
        parts = [self._part(language, part, problems) for part in _parts(language, split)]
        examples = [
            example
            for part, rows in zip(_parts(language, split), parts, strict=True)
            for example in self._examples(rows.records, language, part, problems)
        ]
        if problems:
            once = dict.fromkeys(problems)
            raise DataError(sorted(once, key=lambda one: (one.file, one.line or 0)))
        files = tuple(file for rows in parts for file in rows.files)
        notes = {name: count for rows in parts for name, count in rows.notes.items()}
        return Portion(tuple(examples), files, MappingProxyType(notes))

    def sentence_fields(self) -> tuple[str, ...]:
        """The fields that hold sentences."""
        return ("premise", "choice1", "choice2")

    def wording(self, language: str) -> Wording:
        """The wording for items of a language."""
        if self.wording_name == "default":
            return _DEFAULT_WORDING
        cause, effect = harness_row(_CONNECTORS, language, "XCOPA")
        return Wording("{premise} {question}", words={"cause": cause, "effect": effect})

    def parse(self, record: Record, language: str) -> Example:
        """A new item: premise, choice1, choice2 and question; label (0 or 1) and idx may lack."""
        problems: list[Problem] = []
        name = str(record.values.get("idx", record.values.get("id", record.line)))
        known = record.values.get("label") is not None
        answer = coded(record, "label", _LABELS, problems) if known else None
        fields = self._fields(record, language, problems)
        if problems:
            raise DataError(problems)
        return Example(name, language, fields, ("choice1", "choice2"), (answer,) if answer else ())

    def settings(self) -> Mapping[str, str | bool]:
        """What decides the numbers: the wording and whether questions are raw."""
        return {"wording": self.wording_name, "raw_questions": self.raw_questions}

    def _part(self, language: str, part: Part, problems: list[Problem]) -> _Rows:
        rows = self._load(language, part, problems)
        if language == "en":
            return self._labelled(rows, problems) if part == "test" else rows
        return rows if self.raw_questions else self._mended(rows, part, problems)

    def _load(
        self, language: str, part: Part, problems: list[Problem], *, advice: str = ""
    ) -> _Rows:
        """One file, as it stands."""
        if self.folder is None:
            hub_id, config = _hub_place(language)
            return _Rows(hub_records(hub_id, config, _HUB_SPLITS[part]))
        what = f"{'COPA' if language == 'en' else 'XCOPA'} file for '{language}', part '{part}'"
        advice = advice or (_COPA_ADVICE if language == "en" else _XCOPA_ADVICE)
        path = find_file(self.folder, _candidates(language, part), what, advice=advice)
        return _Rows(read_json_lines(path, problems), (path,))

    def _mended(self, rows: _Rows, part: Part, problems: list[Problem]) -> _Rows:
        """The rows with the questions of the English items; the notes count those that differed."""
        english = self._load("en", part, problems, advice=_MEND_ADVICE)
        raw = _column(rows.records, "question", _QUESTIONS, problems)
        right = _column(english.records, "question", _QUESTIONS, problems)
        records = _with_column(rows.records, "question", right, problems)
        count = sum(right.get(idx, value) != value for idx, value in raw.items())
        return _Rows(records, rows.files + english.files, {"mended questions": count})

    def _labelled(self, rows: _Rows, problems: list[Problem]) -> _Rows:
        """COPA's test rows, which SuperGLUE gives without labels, with those of XCOPA by idx."""
        labelled = self._load(self._language_with_test(), "test", problems)
        labels = _column(labelled.records, "label", _LABELS, problems)
        records = _with_column(rows.records, "label", labels, problems)
        return _Rows(records, rows.files + labelled.files, {"labels from XCOPA": len(records)})

    def _language_with_test(self) -> str:
        """Any language whose XCOPA test file is there."""
        others = self.languages[1:]
        if self.folder is None:
            return others[0]
        for language in others:
            if find_optional(self.folder, _candidates(language, "test")):
                return language
        raise DataError(
            f"{self.folder}: COPA's test set comes without labels and takes them from XCOPA's, "
            f"but found no XCOPA test file in any language, such as {_candidates('tr', 'test')[0]}"
        )

    def _examples(
        self, records: Sequence[Record], language: str, part: Part, problems: list[Problem]
    ) -> list[Example]:
        examples = []
        first_lines: dict[object, int] = {}
        for record in records:
            idx = _idx(record, problems)
            if idx is not None and idx in first_lines:
                found = f"{idx} again (first in line {first_lines[idx]})"
                problems.append(record.problem("idx", found, "each idx once"))
            first_lines.setdefault(idx, record.line)
            answer = coded(record, "label", _LABELS, problems) or ""
            fields = self._fields(record, language, problems)
            options = ("choice1", "choice2")
            examples.append(Example(f"{part}-{idx}", language, fields, options, (answer,)))
        return examples

    def _fields(self, record: Record, language: str, problems: list[Problem]) -> Mapping[str, str]:
        """The item's texts, in the form that the wording joins them in."""
        names = ("premise", "choice1", "choice2")
        premise, choice1, choice2 = (required_text(record, name, problems) for name in names)
        question = coded(record, "question", _QUESTIONS, problems) or ""
        if self.wording_name == "harness":
            premise = without_final_mark(premise)
            choice1, choice2 = lower_first(choice1, language), lower_first(choice2, language)
        return MappingProxyType(
            {"premise": premise, "choice1": choice1, "choice2": choice2, "question": question}
        )


def _parts(language: str, split: SplitName) -> tuple[Part, ...]:
    if split == "train":
        return ("train", "val") if language == "en" else ("val",)
    return ("test",) if split == "test" else ()


def _candidates(language: str, part: str) -> tuple[str, ...]:
    if language == "en":
        return tuple(f"{place}{part}.jsonl" for place in _COPA_PLACES)
    return tuple(f"{place}{language}/{part}.{language}.jsonl" for place in _XCOPA_PLACES)


def _hub_place(language: str) -> tuple[str, str]:
    return ("aps/super_glue", "copa") if language == "en" else ("cambridgeltl/xcopa", language)


def _idx(record: Record, problems: list[Problem]) -> int | None:
    value = record.values.get("idx")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    problems.append(record.problem("idx", described(value), "a whole number"))
    return None


def _column(
    records: Sequence[Record],
    field: str,
    codes: Mapping[str | int, str],
    problems: list[Problem],
) -> dict[int, str | int]:
    """A field's values by idx. A broken idx is passed over: making the example reports it."""
    values = {}
    for record in records:
        idx = _idx(record, [])
        if idx is not None and coded(record, field, codes, problems) is not None:
            values[idx] = record.values[field]
    return values


def _with_column(
    records: Sequence[Record],
    field: str,
    values: Mapping[int, str | int],
    problems: list[Problem],
) -> list[Record]:
    """The records with a field taken from another file by idx; an idx that it lacks is named."""
    changed = []
    for record in records:
        idx = _idx(record, [])
        if idx is not None and idx in values:
            record = replace(record, values={**record.values, field: values[idx]})
        elif idx is not None:
            expected = f"an idx for which the file giving '{field}' has a right value"
            problems.append(record.problem("idx", str(idx), expected))
        changed.append(record)
    return changed
