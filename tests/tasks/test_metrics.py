"""Span scores by hand, against an independent port of the official scorer, and MLQA's rule."""

from __future__ import annotations

import json
import random
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from isogloss.tasks.metrics import accuracy, exact_match, f1, tokens


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "overlap"),
    [
        ("Denver Broncos", ["Denver Broncos"], 1, 1),
        ("the Denver Broncos.", ["denver broncos"], 1, 1),
        ("Broncos", ["Denver Broncos"], 0, 2 / 3),
        ("Denver Denver", ["Denver Broncos"], 0, 0.5),
        ("", ["Denver"], 0, 0),
        ("the", ["a"], 1, 0),  # both empty after normalisation: the official F1 is then 0
        ("308", ["308 points", "308"], 1, 1),
        ("can't", ["cant"], 1, 1),
        ("musluğu açtı", ["Musluğu açtı"], 1, 1),
        ("theatre", ["theater"], 0, 0),
    ],
)
def test_the_squad_rule_by_hand(
    prediction: str, answers: Sequence[str], exact: float, overlap: float
) -> None:
    assert exact_match(prediction, answers) == exact
    assert f1(prediction, answers) == pytest.approx(overlap)


def variants(answer: str, context: str, source: random.Random) -> str:
    """A prediction of a kind that models make: part of the answer, more, other case, elsewhere."""
    words, other = answer.split(), context.split()
    start = source.randrange(len(other))
    return source.choice(
        [
            answer,
            answer.upper(),
            " ".join(words[1:]),
            " ".join([*words, other[start]]),
            f"The {answer}.",
            f"«{answer}»",
            " ".join(other[start : start + 3]),
            answer[: len(answer) // 2],
            "",
        ]
    )


@pytest.mark.parametrize("language", ["en", "tr", "zh", "es", "el"])
def test_the_squad_rule_equals_an_independent_port_on_real_data(
    language: str, real_data: Path
) -> None:
    squad = pytest.importorskip("torchmetrics.functional.text").squad
    content = json.loads((real_data / "xquad" / f"xquad.{language}.json").read_text("utf-8"))
    source = random.Random(1)
    seen = 0
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"][:2]:
                texts = [answer["text"] for answer in question["answers"]]
                prediction = variants(texts[0], paragraph["context"], source)
                target = {"answers": {"text": texts, "answer_start": [0] * len(texts)}, "id": "1"}
                wanted = squad({"prediction_text": prediction, "id": "1"}, target)
                assert 100 * exact_match(prediction, texts, language=language) == pytest.approx(
                    float(wanted["exact_match"])
                )
                assert 100 * f1(prediction, texts, language=language) == pytest.approx(
                    float(wanted["f1"]), rel=1e-5
                )
                seen += 1
    assert seen > 400


def slow_mixed_chinese(text: str) -> list[str]:
    """The obvious way: walk over the characters, and keep runs of others together."""
    found: list[str] = []
    run = ""
    for sign in text.lower():
        if sign in string.punctuation or unicodedata.category(sign).startswith("P"):
            continue
        if "\u4e00" <= sign <= "\u9fa5":
            found += [run, sign]
            run = ""
        elif sign.isspace():
            found.append(run)
            run = ""
        else:
            run += sign
    return [piece for piece in [*found, run] if piece]


@pytest.mark.parametrize(
    "text",
    ["水从水龙头喷口流出。", "在2015年，Super Bowl 50 举行。", "“丹佛野马队”（AFC）", "308 分", ""],
)
def test_chinese_is_segmented_by_character(text: str) -> None:
    assert tokens(text, language="zh", rule="mixed") == slow_mixed_chinese(text)


def slow_overlap(own: Sequence[str], wanted: Sequence[str]) -> float:
    """F1 the obvious way: strike each token of one list from the other."""
    left = list(wanted)
    for token in own:
        if token in left:
            left.remove(token)
    common = len(wanted) - len(left)
    return 2 * common / (len(own) + len(wanted)) if common else 0.0


def test_the_mixed_rule_equals_its_slow_twin_on_real_chinese(real_data: Path) -> None:
    content = json.loads((real_data / "xquad" / "xquad.zh.json").read_text("utf-8"))
    source = random.Random(3)
    partial = 0
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answer = question["answers"][0]["text"]
                start = source.randrange(len(paragraph["context"]))
                other = paragraph["context"][start : start + 12]
                prediction = source.choice([answer[1:], answer + other, other, f"约${answer}。"])
                own, wanted = slow_mixed_chinese(prediction), slow_mixed_chinese(answer)
                found = f1(prediction, [answer], language="zh", rule="mixed")
                assert found == pytest.approx(slow_overlap(own, wanted))
                exact = exact_match(prediction, [answer], language="zh", rule="mixed")
                assert exact == float(own == wanted)
                partial += 0 < found < 1
    assert partial > 500


def test_one_wrong_character_costs_all_under_squad_and_little_under_mixed() -> None:
    prediction, answers = "水从水龙头喷口流出了", ["水从水龙头喷口流出"]
    assert f1(prediction, answers, language="zh") == 0
    assert f1(prediction, answers, language="zh", rule="mixed") == pytest.approx(18 / 19)
    assert exact_match("丹佛 野马队", ["“丹佛野马队”"], language="zh", rule="mixed") == 1


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("es", "¿La casa de los Ángeles?", ["casa", "de", "ángeles"]),
        ("de", "Der Hund, die Katze", ["hund", "katze"]),
        ("el", "η πόλη της Αθήνας", ["πόλη", "αθήνας"]),
        ("tr", "bir «kitap»", ["bir", "kitap"]),
        ("vi", "cái nhà của tôi", ["nhà", "tôi"]),
        ("ar", "في البيت", ["في", "بيت"]),
        ("hi", "यह घर है।", ["यह", "घर", "है"]),
        ("en", "the $5 = 3+2 `a|b~`", ["5", "32", "ab"]),  # string.punctuation, not only P*
        ("zh", "约$37.6亿+ (NFL)", ["约", "376", "亿", "nfl"]),
    ],
)
def test_the_mixed_rule_knows_the_languages_articles(
    language: str, text: str, wanted: list[str]
) -> None:
    assert tokens(text, language=language, rule="mixed") == wanted


def test_f1_is_symmetric_and_between_0_and_1() -> None:
    source = random.Random(2)
    for _ in range(200):
        a, b = (" ".join(source.choices("pqrst", k=source.randint(1, 6))) for _ in "ab")
        value = f1(a, [b])
        assert value == f1(b, [a])
        assert 0 <= value <= 1
        assert (value == 1) == (Counter(a.split()) == Counter(b.split()))


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="'other'; expected squad or mixed"):
        f1("a", ["a"], rule="other")
    with pytest.raises(ValueError, match="right answer"):
        f1("a", [])
    with pytest.raises(ValueError, match="no items"):
        accuracy([])
    assert accuracy([True, False]) == 0.5
