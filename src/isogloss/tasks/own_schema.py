"""The YAML file of a user's own task (Section 6.1): its keys, and every problem with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from isogloss.errors import Problem, suggestion
from isogloss.tasks.example import Kind, SplitName, Wording
from isogloss.tasks.own_files import Files, read_files
from isogloss.tasks.own_wording import DEFAULT, Terms, is_plain_name, read_wordings
from isogloss.tasks.own_yaml import (
    Entry,
    as_text,
    as_text_mapping,
    as_texts,
    check_keys,
    read_yaml,
)
from isogloss.tasks.sources import described

_METRICS: Mapping[Kind, tuple[str, ...]] = {
    "choice": ("accuracy",),
    "label": ("accuracy",),
    "span": ("f1", "exact_match"),
}
_REQUIRED: Mapping[str, str] = {
    "name": "a name of the task",
    "kind": "choice, label or span",
    "dominant": "the code of the dominant language",
    "languages": "a list of language codes",
    "fields": "a list of the columns that the wording uses",
    "answer": "the column that holds the answer",
    "wording": "a mapping with the key 'input'",
    "files": "a pattern such as '{language}/{split}.jsonl'",
}
_KEYS = (*_REQUIRED, "description", "id", "parallel_rows", "options", "context", "metric")
_NAME = re.compile(r"\w[\w.-]*")
_CODE = re.compile(r"[^\W_]+([-_][^\W_]+)*")
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


@final
@dataclass(frozen=True)
class Schema:
    """The settings of a user's task, read from the YAML file `path`.

    `fields` are all columns that hold texts of an item, the options of a choice included.
    `files` lacks a language's split where the YAML names no file for it. `lines` holds the line
    of each key that is there.
    """

    path: Path
    name: str
    kind: Kind
    metric: str
    dominant: str
    languages: tuple[str, ...]
    fields: tuple[str, ...]
    answer: str
    options: tuple[str, ...]
    id: str | None
    parallel_rows: bool
    context: str | None
    wordings: Mapping[str, Wording]
    files: Files
    lines: Mapping[str, int]

    @property
    def parallel(self) -> bool:
        """Whether items of different languages with the same id are translations of each other."""
        return self.id is not None or self.parallel_rows

    def problem(self, key: str, found: str, expected: str) -> Problem:
        """A problem at a key of the YAML file."""
        return Problem(str(self.path), found, expected, self.lines.get(key), key)

    def missing(self, language: str, split: SplitName, what: str) -> Problem:
        """The problem that a language's split has no file; `what` says what it should hold."""
        path = self.files.get((language, split))
        if path is None:
            return self.problem("files", f"no path for '{language}', '{split}'", what)
        place = f"named by {self.path}, line {self.lines['files']}, field 'files'"
        return Problem(str(path), "no such file", f"{what} ({place})")


def read_schema(path: Path, problems: list[Problem]) -> Schema | None:
    """The settings in a YAML file, with every problem noted.

    What comes back beside problems is good for reading the items all the same, so that these can
    be checked too; it is None where not even that can be done.
    """
    root = read_yaml(path, problems)
    if root is None:
        return None
    if not isinstance(root.value, Mapping):
        problems.append(root.problem("keys with values, such as 'name: support_routing'"))
        return None
    check_keys(root, _KEYS, problems)
    return _Reader(root, problems).schema(path)


@final
@dataclass(frozen=True)
class _Reader:
    """The values of the keys, one by one; what is missing or wrong is None or empty, and noted."""

    root: Entry
    problems: list[Problem]

    def schema(self, path: Path) -> Schema | None:
        """All keys together; None where the items could not be read with what is known."""
        name, kind, languages = self.text("name"), self.kind(), self.languages()
        fields, (options, words) = self.columns("fields"), self.options(kind)
        columns = tuple(dict.fromkeys((*fields, *options))) if kind == "choice" else fields
        known = columns if fields and (options or kind in ("label", "span")) else ()
        terms = Terms(kind, languages, known, options, words, self.root.child("options"))
        dominant, answer = self.dominant(languages), self.answer(columns)
        wordings = self.wordings(terms)
        metric, context = self.metric(kind), self.context(kind, fields)
        id_column, parallel_rows = self.text("id"), self.parallel_rows()
        files = self.files(path.parent, languages)
        self.text("description")
        if not (kind and dominant and known and answer and files and (options or kind == "span")):
            return None
        return Schema(
            path=path,
            name=name or "",
            kind=kind,
            metric=metric,
            dominant=dominant,
            languages=languages,
            fields=columns,
            answer=answer,
            options=options,
            id=id_column,
            parallel_rows=parallel_rows,
            context=context,
            wordings=MappingProxyType(wordings),
            files=MappingProxyType(dict(files)),
            lines=MappingProxyType({key: self.line(key) for key in _KEYS}),
        )

    def entry(self, key: str) -> Entry | None:
        """The entry of a key; a missing one is noted if it is required."""
        entry = self.root.child(key)
        if entry is None and key in _REQUIRED:
            self.missing(key, _REQUIRED[key])
        return entry

    def missing(self, key: str, expected: str) -> None:
        """Note that a key is missing."""
        self.problems.append(Problem(self.root.file, f"no key '{key}'", expected, 1, key))

    def note(self, key: str, expected: str, *, found: str | None = None) -> None:
        """Note a problem at a key that is there; unless said, what was found is its value."""
        entry = self.root.child(key)
        if entry is not None:
            self.problems.append(entry.problem(expected, found=found))

    def line(self, key: str) -> int:
        """The line of a key, or 1."""
        entry = self.root.child(key)
        return 1 if entry is None else entry.line

    def text(self, key: str) -> str | None:
        """The text of a key."""
        entry = self.entry(key)
        text = None if entry is None else as_text(entry, self.problems)
        if key == "name" and text is not None and not _NAME.fullmatch(text):
            self.note(key, "letters, digits, '_', '-' and '.' only, for folder names")
        return text

    def texts(self, key: str, *, least: int = 1) -> tuple[str, ...]:
        """The list of a key."""
        entry = self.entry(key)
        return () if entry is None else as_texts(entry, self.problems, least=least) or ()

    def kind(self) -> Kind | None:
        """The kind of task."""
        given = self.text("kind")
        for kind in _METRICS:
            if given == kind:
                return kind
        if given is not None:
            self.note("kind", "choice, label or span" + suggestion(given, _METRICS))
        return None

    def languages(self) -> tuple[str, ...]:
        """The codes of all languages."""
        languages = self.texts("languages", least=2)
        wrong = [code for code in languages if not _CODE.fullmatch(code) or code == DEFAULT]
        for code in wrong:
            self.note("languages", "a code such as tr or pt-BR", found=described(code))
        return () if wrong else languages

    def dominant(self, languages: tuple[str, ...]) -> str | None:
        """The dominant language, which is one of the languages."""
        dominant = self.text("dominant")
        if dominant is None or not languages or dominant in languages:
            return dominant
        near = suggestion(dominant, languages)
        self.note("dominant", f"one of the languages {', '.join(languages)}{near}")
        return None

    def columns(self, key: str, *, least: int = 1) -> tuple[str, ...]:
        """The names of columns that a template can name."""
        columns = self.texts(key, least=least)
        wrong = [name for name in columns if not is_plain_name(name)]
        for name in wrong:
            expected = "another column name: not answer or letter, no number, and none of .[]{}!:"
            self.note(key, expected, found=described(name))
        return () if wrong else columns

    def answer(self, columns: tuple[str, ...]) -> str | None:
        """The column of the answer, which the question must not show."""
        answer = self.text("answer")
        if answer in columns:
            self.note("answer", "a column that is not one of the texts of the question")
            return None
        return answer

    def options(self, kind: Kind | None) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """The options, and the words of those that have one."""
        entry = self.root.child("options")
        if kind == "span" and entry is not None:
            self.note("options", "no key 'options', as kind is span", found="options")
        if kind is None or kind == "span":
            return (), {}
        if entry is None:
            what = "labels" if kind == "label" else "columns that hold the options"
            self.missing("options", f"a list of the {what}, as kind is {kind}")
            return (), {}
        if kind == "choice":
            return self.columns("options", least=2), {}
        if not isinstance(entry.value, Mapping):
            return self.texts("options", least=2), {}
        words = as_text_mapping(entry, self.problems) or {}
        if len(entry.value) < 2:
            self.note("options", "2 or more labels", found=str(len(entry.value)))
            return (), {}
        return tuple(words), words

    def metric(self, kind: Kind | None) -> str:
        """The metric; without one, the first of the kind's."""
        given = self.text("metric")
        if kind is None or given in _METRICS[kind]:
            return given or ""
        if given is not None:
            self.note("metric", f"{' or '.join(_METRICS[kind])}, as kind is {kind}")
        return _METRICS[kind][0]

    def context(self, kind: Kind | None, fields: tuple[str, ...]) -> str | None:
        """The field that every answer must occur in."""
        context = self.text("context")
        if context is not None and kind in ("choice", "label"):
            self.note("context", f"no key 'context', as kind is {kind}")
            return None
        if context is None or not fields or context in fields:
            return context
        self.note("context", f"one of the fields {', '.join(fields)}{suggestion(context, fields)}")
        return None

    def parallel_rows(self) -> bool:
        """Whether rows of the same number are translations of each other."""
        text = self.text("parallel_rows")
        if text is None:
            return False
        if text.lower() not in _TRUTH:
            self.note("parallel_rows", "true or false")
        elif _TRUTH[text.lower()] and self.root.child("id"):
            self.note("parallel_rows", "either this or 'id', not both", found="both")
        return _TRUTH.get(text.lower(), False)

    def wordings(self, terms: Terms) -> dict[str, Wording]:
        """The wording of each language."""
        entry = self.entry("wording")
        return {} if entry is None else read_wordings(entry, terms, self.problems)

    def files(self, folder: Path, languages: tuple[str, ...]) -> Files:
        """The files of each language and split."""
        entry = self.entry("files")
        return {} if entry is None else read_files(entry, folder, languages, self.problems)
