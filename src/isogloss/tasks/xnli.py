"""XNLI (Section 6.1): does a hypothesis follow from a premise, contradict it, or neither?"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from isogloss.errors import ConfigError, DataError, Problem
from isogloss.languages import check_language
from isogloss.tasks.example import Example, Portion, SplitName, Task, Wording
from isogloss.tasks.reading import Record
from isogloss.tasks.sources import Source
from isogloss.tasks.wordings import WORDING_NAMES, check_choice, harness_row, without_final_mark
from isogloss.tasks.xnli_rows import LABELS, NO_LABEL, Pool, Row, has_translated, new_row, read_rows

# The form of AdaMergeX (Zhao et al., 2025b) without its opening sentence.
_DEFAULT_WORDING = Wording(
    input=(
        "Premise: {premise}\nHypothesis: {hypothesis}\n"
        "The relationship can be chosen from entailment, contradiction, and neutral.\n"
        "Relationship:"
    ),
    instruction="The relationship can be chosen from entailment, contradiction, and neutral.",
)

# Words for (right, entailment, neutral, contradiction) of lm-evaluation-harness,
# lm_eval/tasks/xnli; taken as they stand there, mistranslations (ar, el) included.
_HARNESS_WORDS: Mapping[str, tuple[str, str, str, str]] = {
    "en": ("right", "Yes", "Also", "No"),
    "ar": ("صحيح", "نعم", "لذا", "رقم"),
    "bg": ("правилно", "да", "така", "не"),
    "de": ("richtig", "Ja", "Auch", "Nein"),
    "el": ("σωστός", "Ναί", "Έτσι", "όχι"),
    "es": ("correcto", "Sí", "Asi que", "No"),
    "fr": ("correct", "Oui", "Aussi", "Non"),
    "hi": ("सही", "हाँ", "इसलिए", "नहीं"),
    "ru": ("правильно", "Да", "Так", "Нет"),
    "sw": ("sahihi", "Ndiyo", "Hivyo", "Hapana"),
    "th": ("ถูกต้อง", "ใช่", "ดังนั้น", "ไม่"),
    "tr": ("doğru", "Evet", "Böylece", "Hayır"),
    "ur": ("صحیح", "جی ہاں", "اس لئے", "نہیں"),
    "vi": ("đúng", "Vâng", "Vì vậy", "Không"),
    "zh": ("正确", "是的", "所以", "不是的"),
}


@final
@dataclass(frozen=True)
class Xnli(Task):
    """XNLI, sampled by row: a seed takes the same rows in every language.

    Training rows come from the machine-translated MultiNLI where the folder has it (in English
    and at least one other language), else from the dev set, with a part of the rest of the dev
    set for validation. Ids name the set and the pair ("dev-16"; "train-16" is the 16th row).

    `folder` None is the hub. `train_size` and `test_size` are 1000 in Section 6.1.
    `validation_size` is the number of dev rows beside machine-translated training data,
    `held_out_size` the number of further dev rows where dev rows train (none if fewer are left).
    """

    folder: Source
    wording_name: str = "default"
    train_size: int = 1000
    test_size: int = 1000
    validation_size: int = 500
    held_out_size: int = 200

    name = "xnli"
    kind = "label"
    metric = "accuracy"
    dominant = "en"
    languages = tuple(_HARNESS_WORDS)

    def __post_init__(self) -> None:
        check_choice(self.wording_name, WORDING_NAMES, "wording")
        for name in ("train_size", "test_size", "validation_size", "held_out_size"):
            least = 1 if name in ("train_size", "test_size") else 0
            size: int = getattr(self, name)
            if size < least:
                raise ConfigError(f"XNLI's {name} is {size}; give {least} or more")

    def read(self, language: str, split: SplitName, *, seed: int) -> Portion:
        """The sampled examples of one language and split, in the order of the file."""
        check_language(language, self.languages, "XNLI")
        pool, skip, take = self._plan(split)
        problems: list[Problem] = []
        rows, files = read_rows(self.folder, language, pool, problems)
        if problems:
            raise DataError(problems)
        order = _usable(rows, seed=seed)
        chosen = sorted(order[skip : skip + take])
        if split == "validation" and len(order) < skip + take:
            chosen = []
        examples = tuple(self._example(rows[place], language) for place in chosen)
        counts = {"rows without a gold label": len(rows) - len(order)}
        if split != "validation":
            counts["rows fewer than asked"] = take - len(chosen)
        notes = {name: count for name, count in counts.items() if count}
        return Portion(examples, files, MappingProxyType(notes))

    def sentence_fields(self) -> tuple[str, ...]:
        """The fields that hold sentences."""
        return ("premise", "hypothesis")

    def wording(self, language: str) -> Wording:
        """The wording for items of a language."""
        if self.wording_name == "default":
            return _DEFAULT_WORDING
        right, *answers = harness_row(_HARNESS_WORDS, language, "XNLI")
        words = dict(zip(LABELS, answers, strict=True))
        return Wording("{premise}", f", {right}? {{answer}}, {{hypothesis}}", words=words)

    def parse(self, record: Record, language: str) -> Example:
        """A new item: premise and hypothesis (or sentence1 and sentence2); label, id may lack."""
        problems: list[Problem] = []
        row = new_row(record, problems)
        if problems:
            raise DataError(problems)
        return self._example(row, language)

    def settings(self) -> Mapping[str, str | bool]:
        """What decides the numbers: the wording and the sizes of the samples."""
        return {
            "wording": self.wording_name,
            "train_size": str(self.train_size),
            "test_size": str(self.test_size),
            "validation_size": str(self.validation_size),
            "held_out_size": str(self.held_out_size),
        }

    def _plan(self, split: SplitName) -> tuple[Pool, int, int]:
        """What a split takes: the pool, how many rows to pass over in its order, how many."""
        if split == "test":
            return "test", 0, self.test_size
        if has_translated(self.folder, self.languages):
            sizes = {"train": self.train_size, "validation": self.validation_size}
            return ("train" if split == "train" else "dev"), 0, sizes[split]
        if split == "train":
            return "dev", 0, self.train_size
        return "dev", self.train_size, self.held_out_size

    def _example(self, row: Row, language: str) -> Example:
        premise = row.premise
        if self.wording_name == "harness":
            premise = without_final_mark(premise)
        fields = MappingProxyType({"premise": premise, "hypothesis": row.hypothesis})
        answers = (row.label,) if row.label in LABELS else ()
        return Example(row.id, language, fields, LABELS, answers)


def _usable(rows: Sequence[Row], *, seed: int) -> list[int]:
    """The places of the rows with a gold label, in the seed's order: the same in all languages."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    return [place for place in order if rows[place].label != NO_LABEL]
