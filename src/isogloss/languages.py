"""The languages (Section 6.1) by code: English name, script, and how much of the web they make up.

Adding a language is adding a row here, plus a row of wording in each task that has it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from isogloss.errors import ConfigError

Dominance = Literal["high", "medium", "low"]


@final
@dataclass(frozen=True)
class Language:
    """One language.

    `code` is the ISO 639-1 code, or the 639-3 code where there is no shorter one. `dominance`
    is our own coarse grouping by the share of web pages in the language: "high" is about 2% or
    more, "medium" about 0.1% or more, "low" is less. It is a label for tables, not a measurement.
    """

    code: str
    name: str
    script: str
    dominance: Dominance


LANGUAGES: tuple[Language, ...] = (
    # The languages of XQuAD, XCOPA and XNLI.
    Language("en", "English", "Latin", "high"),
    Language("ar", "Arabic", "Arabic", "medium"),
    Language("bg", "Bulgarian", "Cyrillic", "medium"),
    Language("de", "German", "Latin", "high"),
    Language("el", "Greek", "Greek", "medium"),
    Language("es", "Spanish", "Latin", "high"),
    Language("et", "Estonian", "Latin", "medium"),
    Language("fr", "French", "Latin", "high"),
    Language("hi", "Hindi", "Devanagari", "medium"),
    Language("ht", "Haitian Creole", "Latin", "low"),
    Language("id", "Indonesian", "Latin", "medium"),
    Language("it", "Italian", "Latin", "high"),
    Language("qu", "Quechua", "Latin", "low"),
    Language("ro", "Romanian", "Latin", "medium"),
    Language("ru", "Russian", "Cyrillic", "high"),
    Language("sw", "Swahili", "Latin", "low"),
    Language("ta", "Tamil", "Tamil", "low"),
    Language("th", "Thai", "Thai", "medium"),
    Language("tr", "Turkish", "Latin", "medium"),
    Language("ur", "Urdu", "Arabic", "low"),
    Language("vi", "Vietnamese", "Latin", "medium"),
    Language("zh", "Chinese", "Han", "high"),
    # Others that users are likely to bring.
    Language("af", "Afrikaans", "Latin", "low"),
    Language("am", "Amharic", "Ethiopic", "low"),
    Language("az", "Azerbaijani", "Latin", "low"),
    Language("bn", "Bengali", "Bengali", "medium"),
    Language("bo", "Tibetan", "Tibetan", "low"),
    Language("ca", "Catalan", "Latin", "medium"),
    Language("cs", "Czech", "Latin", "medium"),
    Language("cy", "Welsh", "Latin", "low"),
    Language("da", "Danish", "Latin", "medium"),
    Language("eu", "Basque", "Latin", "low"),
    Language("fa", "Persian", "Arabic", "medium"),
    Language("fi", "Finnish", "Latin", "medium"),
    Language("ga", "Irish", "Latin", "low"),
    Language("gl", "Galician", "Latin", "low"),
    Language("gn", "Guarani", "Latin", "low"),
    Language("gu", "Gujarati", "Gujarati", "low"),
    Language("ha", "Hausa", "Latin", "low"),
    Language("he", "Hebrew", "Hebrew", "medium"),
    Language("hr", "Croatian", "Latin", "medium"),
    Language("hu", "Hungarian", "Latin", "medium"),
    Language("hy", "Armenian", "Armenian", "low"),
    Language("ig", "Igbo", "Latin", "low"),
    Language("is", "Icelandic", "Latin", "low"),
    Language("ja", "Japanese", "Kana and Han", "high"),
    Language("jv", "Javanese", "Latin", "low"),
    Language("ka", "Georgian", "Georgian", "low"),
    Language("kk", "Kazakh", "Cyrillic", "low"),
    Language("km", "Khmer", "Khmer", "low"),
    Language("kn", "Kannada", "Kannada", "low"),
    Language("ko", "Korean", "Hangul", "medium"),
    Language("lo", "Lao", "Lao", "low"),
    Language("lt", "Lithuanian", "Latin", "medium"),
    Language("lv", "Latvian", "Latin", "medium"),
    Language("mi", "Maori", "Latin", "low"),
    Language("ml", "Malayalam", "Malayalam", "low"),
    Language("mn", "Mongolian", "Cyrillic", "low"),
    Language("mr", "Marathi", "Devanagari", "low"),
    Language("ms", "Malay", "Latin", "low"),
    Language("my", "Burmese", "Myanmar", "low"),
    Language("ne", "Nepali", "Devanagari", "low"),
    Language("nl", "Dutch", "Latin", "medium"),
    Language("no", "Norwegian", "Latin", "medium"),
    Language("pa", "Punjabi", "Gurmukhi", "low"),
    Language("pl", "Polish", "Latin", "medium"),
    Language("pt", "Portuguese", "Latin", "high"),
    Language("si", "Sinhala", "Sinhala", "low"),
    Language("sk", "Slovak", "Latin", "medium"),
    Language("sl", "Slovenian", "Latin", "medium"),
    Language("so", "Somali", "Latin", "low"),
    Language("sq", "Albanian", "Latin", "low"),
    Language("sr", "Serbian", "Cyrillic", "medium"),
    Language("sv", "Swedish", "Latin", "medium"),
    Language("te", "Telugu", "Telugu", "low"),
    Language("tl", "Tagalog", "Latin", "low"),
    Language("uk", "Ukrainian", "Cyrillic", "medium"),
    Language("uz", "Uzbek", "Latin", "low"),
    Language("xh", "Xhosa", "Latin", "low"),
    Language("yo", "Yoruba", "Latin", "low"),
    Language("zu", "Zulu", "Latin", "low"),
)

_BY_CODE = {language.code: language for language in LANGUAGES}


def lookup(code_or_name: str) -> Language:
    """The language with this code or English name, in capitals or not.

    >>> lookup("tr").name, lookup("Swahili").code
    ('Turkish', 'sw')

    Raises:
        ConfigError: no such row; near codes and names are suggested.
    """
    found = _exact(code_or_name)
    if found is not None:
        return found
    near = _suggested(_near(code_or_name, LANGUAGES))
    advice = near or "; give an ISO 639 code such as 'sw', or an English name such as 'Swahili'"
    raise ConfigError(f"no language '{code_or_name}' is known{advice}")


def check_language(code: str, known: Sequence[str], what: str) -> None:
    """Make sure that a task has a language; `known` are its codes and `what` is its name.

    Raises:
        ConfigError: it has not; what was probably meant, and what there is, are said.
    """
    if code in known:
        return
    has = f"it has {', '.join(known)}"
    meant = _exact(code)
    if meant is not None and meant.code not in known:
        named = meant.name if code == meant.code else f"code '{meant.code}'"
        raise ConfigError(f"{what} has no '{code}' ({named}); {has}")
    near = [meant] if meant else _near(code, [_row(one) for one in known])
    raise ConfigError(f"{what} has no '{code}'; {has}{_suggested(near)}")


def _row(code: str) -> Language:
    """The row of a code; a code of the user's own, not in the table, is its own name."""
    return _BY_CODE.get(code, Language(code, code, "", "low"))


def _exact(given: str) -> Language | None:
    """The row whose code or name is exactly this, but for capitals."""
    name = given.strip().lower()
    if name in _BY_CODE:
        return _BY_CODE[name]
    return next((language for language in LANGUAGES if language.name.lower() == name), None)


def _near(given: str, rows: Sequence[Language]) -> list[Language]:
    """Up to three rows that may have been meant, by the surest of four signs that finds any."""
    name = given.strip().lower()
    base = name.replace("_", "-").split("-")[0]
    of_region = [row for row in rows if row.code == base]
    begins = [row for row in rows if len(name) >= 3 and row.name.lower().startswith(name)]
    names = difflib.get_close_matches(name, [row.name.lower() for row in rows], cutoff=0.7)
    by_name = [row for row in rows if row.name.lower() in names]
    codes = difflib.get_close_matches(name, [row.code for row in rows], cutoff=0.6)
    by_code = [row for row in rows if row.code in codes]
    return (of_region or begins or by_name or by_code)[:3]


def _suggested(rows: Sequence[Language]) -> str:
    if not rows:
        return ""
    shown = (f"'{row.code}'" + (f" ({row.name})" if row.name != row.code else "") for row in rows)
    return "; did you mean " + " or ".join(shown) + "?"
