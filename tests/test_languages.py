from __future__ import annotations

import pytest

from isogloss.errors import ConfigError
from isogloss.languages import LANGUAGES, check_language, lookup
from isogloss.tasks.xcopa import Xcopa
from isogloss.tasks.xnli import Xnli
from isogloss.tasks.xquad import Xquad

XCOPA = ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")


def test_every_language_of_the_benchmarks_has_a_row() -> None:
    codes = {language.code for language in LANGUAGES}
    wanted = {*Xcopa(None).languages, *Xnli(None).languages, *Xquad(None).languages}
    assert len(wanted) == 22
    assert wanted <= codes


def test_codes_and_names_are_unique_and_every_group_is_used() -> None:
    assert len({language.code for language in LANGUAGES}) == len(LANGUAGES) > 60
    assert len({language.name for language in LANGUAGES}) == len(LANGUAGES)
    assert {language.dominance for language in LANGUAGES} == {"high", "medium", "low"}


@pytest.mark.parametrize("given", ["tr", "TR", "Turkish", "turkish"])
def test_lookup_by_code_or_name(given: str) -> None:
    assert lookup(given).code == "tr"


@pytest.mark.parametrize(
    ("given", "suggested"),
    [
        ("tur", "'tr' (Turkish)"),
        ("turkisch", "'tr' (Turkish)"),
        ("ger", "'de' (German)"),
        ("zh-CN", "'zh' (Chinese)"),
        ("pt_BR", "'pt' (Portuguese)"),
        ("ell", "'el' (Greek)"),
    ],
)
def test_an_unknown_language_suggests_near_ones(given: str, suggested: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lookup(given)
    assert f"'{given}'" in str(caught.value)
    assert suggested in str(caught.value)


def test_a_language_near_nothing_says_what_to_give() -> None:
    with pytest.raises(ConfigError, match="give an ISO 639 code"):
        lookup("qqqq")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("de", "XCOPA has no 'de' (German); it has en, et, ht"),
        ("german", "XCOPA has no 'german' (code 'de'); it has en, et, ht"),
        ("tur", "vi, zh; did you mean 'tr' (Turkish)?"),
        ("turkish", "vi, zh; did you mean 'tr' (Turkish)?"),
    ],
)
def test_a_task_without_the_language_says_what_it_has(given: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_language(given, XCOPA, "XCOPA")
    assert message in str(caught.value)


def test_codes_of_the_users_own_are_known_and_suggested() -> None:
    check_language("klingon", ("en", "klingon"), "my task")
    with pytest.raises(ConfigError, match="did you mean 'klingon'"):
        check_language("klingom", ("en", "klingon"), "my task")
