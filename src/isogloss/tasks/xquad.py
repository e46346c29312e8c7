"""XQuAD (Section 6.1): the span of a paragraph that answers a question."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

from isogloss.errors import DataError, Problem
from isogloss.languages import check_language
from isogloss.tasks.example import Example, Portion, SplitName, Task, Wording
from isogloss.tasks.reading import Record, read_json, read_text
from isogloss.tasks.sources import Source, described, find_file, hub_records, required_text
from isogloss.tasks.wordings import WORDING_NAMES, check_choice, harness_row

_DEFAULT_WORDING = Wording(
    input="Context: {context}\nQuestion: {question}\nAnswer:",
    instruction="Answer the question with words of the context.",
)

# Words for (context, question, answer) of lm-evaluation-harness, lm_eval/tasks/xquad, and its
# blank lines between them. Left out are hi, ro and th, whose words we could not check.
_HARNESS_WORDS: Mapping[str, tuple[str, str, str]] = {
    "en": ("Context", "Question", "Answer"),
    "ar": ("سياق", "سؤال", "إجابة"),
    "de": ("Kontext", "Frage", "Antwort"),
    "el": ("Πλαίσιο", "Ερώτηση", "Απάντηση"),
    "es": ("Contexto", "Pregunta", "Respuesta"),
    "ru": ("Контекст", "Вопрос", "Ответ"),
    "tr": ("Bağlam", "Soru", "Cevap"),
    "vi": ("Bối cảnh", "Câu hỏi", "Trả lời"),
    "zh": ("语境", "问题", "回答"),
}

SPLIT_RULES = ("article", "paper")
TEST_SHARE = 0.2

# How many items each article has, in the order of the official files (commit 7d30520): the hub's
# copy does not say which article an item is of.
ARTICLE_SIZES = (
    *(74, 23, 8, 30, 18, 24, 23, 25, 25, 24, 24, 24, 23, 21, 24, 36),
    *(35, 32, 23, 20, 23, 23, 25, 25, 19, 24, 25, 25, 39, 22, 21, 19),
    *(25, 25, 25, 24, 24, 21, 21, 22, 24, 26, 23, 25, 25, 17, 16, 21),
)

_LANGUAGES = ("en", "ar", "de", "el", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
_PLACES = ("xquad/", "", "data/", "xquad/data/")
_ADVICE = "Get it from https://github.com/google-deepmind/xquad, or read XQuAD from the hub."
_HUB_ID = "google/xquad"
_ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*")')


@final
@dataclass(frozen=True)
class Xquad(Task):
    """XQuAD: 1190 items on 48 articles, the same ids in every language.

    `split_rule` "article" puts whole articles, about 20% of the items, into the test set.
    "paper" draws 20% of the ids (238 items), as the paper's decimals show that it did; then the
    paragraph of almost every test item is in the training set too. Either way a seed puts the
    same ids into the test set in every language. There is no validation set.

    `folder` None is the hub.
    """

    folder: Source
    split_rule: str = "article"
    wording_name: str = "default"

    name = "xquad"
    kind = "span"
    metric = "f1"
    dominant = "en"
    languages = _LANGUAGES

    def __post_init__(self) -> None:
        check_choice(self.split_rule, SPLIT_RULES, "split rule")
        check_choice(self.wording_name, WORDING_NAMES, "wording")

    def read(self, language: str, split: SplitName, *, seed: int) -> Portion:
        """The examples of one language and split, in the order of the file."""
        check_language(language, self.languages, "XQuAD")
        if split == "validation":
            return Portion(())
        problems: list[Problem] = []
        records, files = self._records(language, problems)
        examples = [_example(record, language, problems) for record in records]
        if problems:
            raise DataError(problems)
        articles = [record.values["article"] for record in records]
        test = self._test_ids([example.id for example in examples], articles, seed=seed)
        chosen = tuple(one for one in examples if (one.id in test) == (split == "test"))
        displaced = sum(map(_displaced, records))
        notes = {"answers not at their answer_start": displaced} if displaced else {}
        return Portion(chosen, files, MappingProxyType(notes))

    def sentence_fields(self) -> tuple[str, ...]:
        """The fields that hold sentences."""
        return ("question",)

    def wording(self, language: str) -> Wording:
        """The wording for items of a language."""
        if self.wording_name == "default":
            return _DEFAULT_WORDING
        context, question, answer = harness_row(_HARNESS_WORDS, language, "XQuAD")
        return Wording(f"{context}: {{context}}\n\n{question}: {{question}}\n\n{answer}:")

    def parse(self, record: Record, language: str) -> Example:
        """A new item: context and question; id and answers (a list of texts) may lack."""
        problems: list[Problem] = []
        values = {"id": str(record.line), **record.values}
        example = _example(replace(record, values=values), language, problems)
        if problems:
            raise DataError(problems)
        return example

    def answer_field(self) -> str:
        """The list of right answers."""
        return "answers"

    def settings(self) -> Mapping[str, str | bool]:
        """What decides the numbers: the split rule and the wording."""
        return {"split_rule": self.split_rule, "wording": self.wording_name}

    def _records(
        self, language: str, problems: list[Problem]
    ) -> tuple[list[Record], tuple[Path, ...]]:
        """All items with their context, and in "article" the number of their article."""
        if self.folder is None:
            return _hub_items(language, whole=self.split_rule == "article"), ()
        candidates = tuple(f"{place}xquad.{language}.json" for place in _PLACES)
        path = find_file(self.folder, candidates, f"XQuAD file for '{language}'", advice=_ADVICE)
        return list(_file_items(path, problems)), (path,)

    def _test_ids(
        self, ids: Sequence[str], articles: Sequence[int], *, seed: int
    ) -> frozenset[str]:
        if self.split_rule == "paper":
            return random_test_ids(ids, seed=seed)
        groups: dict[int, list[str]] = {}
        for name, article in zip(ids, articles, strict=True):
            groups.setdefault(article, []).append(name)
        return article_test_ids(list(groups.values()), seed=seed)


def random_test_ids(ids: Sequence[str], *, seed: int) -> frozenset[str]:
    """20% of the ids, whatever order they come in.

    >>> random_test_ids("abcdefghij", seed=0) == random_test_ids("jihgfedcba", seed=0)
    True
    """
    order = sorted(ids)
    random.Random(seed).shuffle(order)
    return frozenset(order[: round(TEST_SHARE * len(order))])


def article_test_ids(articles: Sequence[Sequence[str]], *, seed: int) -> frozenset[str]:
    """The ids of whole articles, as near to 20% of all as going once through them brings it.

    The articles are taken in a seeded order that depends on their ids alone, each where it
    brings the number of test items nearer to 20%.
    """
    order = sorted((sorted(ids) for ids in articles), key=lambda ids: ids[:1])
    wanted = TEST_SHARE * sum(map(len, order))
    random.Random(seed).shuffle(order)
    test: list[str] = []
    for ids in order:
        if abs(len(test) + len(ids) - wanted) < abs(len(test) - wanted):
            test.extend(ids)
    return frozenset(test)


def _example(record: Record, language: str, problems: list[Problem]) -> Example:
    name = required_text(record, "id", problems)
    context = required_text(record, "context", problems).removeprefix("\ufeff").strip()
    question = required_text(record, "question", problems)
    answers = _answers(record, context, problems) if "answers" in record.values else ()
    fields = MappingProxyType({"context": context, "question": question})
    return Example(name, language, fields, (), answers)


def _answers(record: Record, context: str, problems: list[Problem]) -> tuple[str, ...]:
    """The answers' texts, each once; each must stand somewhere in the context."""
    entries = record.values["answers"]
    if not isinstance(entries, list) or not entries:
        problems.append(record.problem("answers", described(entries), "a list of answers"))
        return ()
    texts = []
    for entry in entries:
        text = entry.get("text") if isinstance(entry, dict) else entry
        if not isinstance(text, str) or not text.strip():
            problems.append(record.problem("answers", described(text), "a text"))
        elif text.strip() not in context:
            problems.append(record.problem("answers", described(text), "words of the context"))
        else:
            texts.append(text.strip())
    return tuple(dict.fromkeys(texts))


def _displaced(record: Record) -> int:
    """How many of an item's answers stand in the context, but not where the file says."""
    context = record.values["context"]
    places = [
        (answer["text"], answer.get("answer_start"))
        for answer in record.values["answers"]
        if isinstance(answer, dict)
    ]
    return sum(
        not (isinstance(start, int) and context.startswith(text, start)) for text, start in places
    )


def _file_items(path: Path, problems: list[Problem]) -> Iterator[Record]:
    """The items of an official file, each with its context and the number of its article.

    A record's line is the one where the item's id stands, or the one of the item before.
    """
    root = read_json(path)
    lines = _lines_of_ids(read_text(path, problems))
    line = 1
    for number, article in enumerate(_objects(root, "data", path, problems)):
        where = f"data[{number}]."
        paragraphs = _objects(article, "paragraphs", path, problems, where)
        for place, paragraph in enumerate(paragraphs):
            context, inside = paragraph.get("context"), f"{where}paragraphs[{place}]."
            for entry in _objects(paragraph, "qas", path, problems, inside):
                line = lines.get(entry.get("id"), line)
                values = {"answers": None, **entry, "context": context, "article": number}
                yield Record(str(path), line, values)


def _objects(
    parent: Any, key: str, path: Path, problems: list[Problem], where: str = ""
) -> list[dict[str, Any]]:
    """The objects in the list under a key; what is not of this shape is noted."""
    value = parent.get(key) if isinstance(parent, dict) else None
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return value
    expected = "a list of objects, as in XQuAD's files"
    problems.append(Problem(str(path), described(value), expected, field=where + key))
    return []


def _lines_of_ids(text: str) -> dict[object, int]:
    lines: dict[object, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        for match in _ID.finditer(line):
            lines.setdefault(json.loads(match[1]), number)
    return lines


def _hub_items(language: str, *, whole: bool) -> list[Record]:
    """The items of the hub's copy in the form of the official files'."""
    records = hub_records(_HUB_ID, f"xquad.{language}", "validation")
    articles = _hub_articles(records) if whole else [0] * len(records)
    return [
        replace(record, values={**record.values, "answers": _hub_answers(record), "article": one})
        for record, one in zip(records, articles, strict=True)
    ]


def _hub_answers(record: Record) -> list[dict[str, Any]] | None:
    match record.values.get("answers"):
        case {"text": list(texts), "answer_start": list(starts)}:
            pairs = zip(texts, starts, strict=False)
            return [{"text": text, "answer_start": start} for text, start in pairs]
    return None


def _hub_articles(records: Sequence[Record]) -> list[int]:
    """Each item's article, by the known sizes; that none cuts a paragraph is made sure."""
    articles = [number for number, size in enumerate(ARTICLE_SIZES) for _ in range(size)]
    contexts = [record.values.get("context") for record in records]
    edges = itertools.accumulate(ARTICLE_SIZES[:-1])
    if len(records) == len(articles) and all(contexts[e] != contexts[e - 1] for e in edges):
        return articles
    raise DataError(
        f"hub:{_HUB_ID}: its {len(records)} items are not in the official order of "
        f"{len(articles)}, so their articles are not known; give a folder with the official "
        "files, or use the split rule 'paper'"
    )
