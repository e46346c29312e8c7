"""The `wording` key of a user's task: templates and words, checked against the task's columns."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from isogloss.errors import Problem, suggestion
from isogloss.tasks.example import Kind, Wording
from isogloss.tasks.own_yaml import Entry, as_text, as_text_mapping, check_keys

DEFAULT = "default"
_KEYS = ("instruction", "input", "answer", "words")
_LETTERS = 26


@final
@dataclass(frozen=True)
class Terms:
    """What a wording may speak of; what is not known, because its own key is wrong, is empty."""

    kind: Kind | None
    languages: tuple[str, ...]
    columns: tuple[str, ...]
    options: tuple[str, ...]
    words: Mapping[str, str]  # of the labels, from `options`
    source: Entry | None = None  # of `options`


def read_wordings(entry: Entry, terms: Terms, problems: list[Problem]) -> dict[str, Wording]:
    """The wording of each language; empty, and problems noted, where anything in it is wrong."""
    before = len(problems)
    if not isinstance(entry.value, Mapping):
        problems.append(entry.problem("a mapping with the key 'input'"))
        return {}
    check_keys(entry, _KEYS, problems)
    inputs = _inputs(entry, terms, problems)
    _check_answers(entry.child("answer"), terms, problems)
    answers = _texts(entry.child("answer"), " {answer}", terms, problems)
    instructions = _texts(entry.child("instruction"), "", terms, problems)
    words = _words(entry.child("words"), terms, problems)
    if len(problems) > before:
        return {}
    wordings = {
        code: Wording(inputs[code], answers[code], instructions[code], words[code])
        for code in terms.languages
    }
    _check_words_differ(wordings, terms, entry.child("words") or terms.source or entry, problems)
    return wordings


def template_names(entry: Entry, problems: list[Problem]) -> list[str] | None:
    """The names in the braces of a template, without those that are no plain {name}: each of
    these is a problem. None, and a problem noted, where there is no template at all.
    """
    text = as_text(entry, problems)
    if text is None:
        return None
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        expected = "{name} for a column, and {{ or }} for a brace of the text"
        problems.append(entry.problem(expected, found=f"a broken template ({error})"))
        return None
    names = []
    for _, name, form, conversion in parts:
        if form or conversion or (name is not None and not _is_key(name)):
            shown = f"{name}{f'!{conversion}' if conversion else ''}{f':{form}' if form else ''}"
            problems.append(entry.problem("a plain {name} of a column", found=f"{{{shown}}}"))
        elif name is not None:
            names.append(name)
    return names


def _is_key(name: str) -> bool:
    """Whether `str.format` looks a name up as it is: no place, attribute or index."""
    return not (not name or name.isdigit() or set(name) & set(".["))


def is_plain_name(name: str) -> bool:
    """Whether a column's name can stand in a template's braces and be told from the answer's.

    >>> is_plain_name("message"), is_plain_name("a.b"), is_plain_name("7"), is_plain_name("answer")
    (True, False, False, False)
    """
    return _is_key(name) and not set(name) & set("]{}!:") and name not in ("answer", "letter")


def _inputs(entry: Entry, terms: Terms, problems: list[Problem]) -> dict[str, str]:
    given = entry.child("input")
    if given is None:
        problems.append(entry.problem("the key 'input'", found="no key 'input'"))
        return {}
    for one in _variants(given):
        before = len(problems)
        names = template_names(one, problems)
        if names == [] and len(problems) == before:
            problems.append(one.problem("at least one {column}", found="a text without a column"))
        _check_known(one, names, terms.columns, problems)
        if names is not None and str(one.value)[-1].isspace():
            expected = "no space at the end: let 'answer' begin with it (in YAML: |- for |)"
            problems.append(one.problem(expected, found="a space or line break at the end"))
    return _texts(given, "", terms, problems)


def _check_answers(entry: Entry | None, terms: Terms, problems: list[Problem]) -> None:
    """Note what is wrong with the templates of answers, above all answers that look all alike."""
    telling = ("answer",) if terms.kind == "span" else ("answer", "letter")
    for one in _variants(entry):
        before = len(problems)
        names = template_names(one, problems)
        if names is None:
            continue
        if not set(names) & set(telling) and len(problems) == before:
            expected = " or ".join(f"{{{name}}}" for name in telling)
            problems.append(one.problem(expected + " in it"))
        if terms.columns:
            _check_known(one, names, (*terms.columns, *telling), problems)
        if "letter" in names and len(terms.options) > _LETTERS:
            found = f"{{letter}} for {len(terms.options)} options"
            problems.append(one.problem(f"at most {_LETTERS} options, A to Z", found=found))


def _check_known(
    entry: Entry, names: list[str] | None, known: tuple[str, ...], problems: list[Problem]
) -> None:
    for name in dict.fromkeys(names or ()):
        if known and name not in known:
            expected = f"one of {', '.join(known)}{suggestion(name, known)}"
            problems.append(entry.problem(expected, found=f"the unknown field {{{name}}}"))


def _variants(entry: Entry | None) -> Iterable[Entry]:
    """The entry itself, or the one of each language."""
    if entry is None:
        return ()
    return entry.value.values() if isinstance(entry.value, Mapping) else (entry,)


def _texts(
    entry: Entry | None, absent: str, terms: Terms, problems: list[Problem]
) -> dict[str, str]:
    """The text of each language. Templates report what is no text, and so does this: once."""
    if entry is None:
        return dict.fromkeys(terms.languages, absent)
    known: list[Problem] = []
    if isinstance(entry.value, Mapping):
        texts = as_text_mapping(entry, known) or {}
        _check_languages(entry, terms, known)
    else:
        texts = {DEFAULT: as_text(entry, known) or ""}
    problems += [problem for problem in known if problem not in problems]
    return {code: texts.get(code, texts.get(DEFAULT, "")) for code in terms.languages}


def _check_languages(entry: Entry, terms: Terms, problems: list[Problem]) -> None:
    if not terms.languages or not isinstance(entry.value, Mapping):
        return
    check_keys(entry, (*terms.languages, DEFAULT), problems)
    lacking = [f"'{code}'" for code in terms.languages if code not in entry.value]
    if lacking and DEFAULT not in entry.value:
        found = f"nothing for {', '.join(lacking)}"
        problems.append(entry.problem("a text for every language, or a 'default'", found=found))


def _words(
    entry: Entry | None, terms: Terms, problems: list[Problem]
) -> dict[str, Mapping[str, str]]:
    """The words of each language: those of `options`, then of all languages, then its own."""
    shared, own = dict(terms.words), dict[str, dict[str, str]]()
    if entry is not None and isinstance(entry.value, Mapping) and _is_nested(entry.value):
        check_keys(entry, (*terms.languages, DEFAULT), problems if terms.languages else [])
        own = {code: as_text_mapping(one, problems) or {} for code, one in entry.value.items()}
        shared |= own.pop(DEFAULT, {})
    elif entry is not None:
        shared |= as_text_mapping(entry, problems) or {}
    return {code: MappingProxyType(shared | own.get(code, {})) for code in terms.languages}


def _check_words_differ(
    wordings: Mapping[str, Wording], terms: Terms, place: Entry, problems: list[Problem]
) -> None:
    """Note every word that stands for two labels, for then no answer tells them apart."""
    if terms.kind != "label":
        return
    clashes: dict[str, list[str]] = {}
    for code, wording in wordings.items():
        labels: dict[str, str] = {}
        for label in terms.options:
            word = wording.words.get(label, label)
            same = labels.setdefault(word, label)
            if same != label:
                found = f"the word '{word}' for both '{same}' and '{label}'"
                clashes.setdefault(found, []).append(code)
    for found, codes in clashes.items():
        found = f"{found} in {', '.join(codes)}"
        problems.append(place.problem("another word for each label", found=found))


def _is_nested(values: Mapping[str, Entry]) -> bool:
    return bool(values) and all(isinstance(one.value, Mapping) for one in values.values())
