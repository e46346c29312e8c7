"""Span scores by hand, against an independent port of the official scorer, and MLQA's rule."""

from __future__ import annotations

import json
import random
import unicodedata
from collections import Counter

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
def test_the_squad_rule_by_hand(prediction, answers, exact, overlap):
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
def test_the_squad_rule_equals_an_independent_port_on_real_data(language, real_data):
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
    found, run = [], ""
    for sign in text.lower():
        if unicodedata.category(sign).startswith("P"):
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
def test_chinese_is_segmented_by_character(text):
    assert tokens(text, language="zh", rule="mixed") == slow_mixed_chinese(text)


def test_one_wrong_character_costs_all_under_squad_and_little_under_mixed():
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
    ],
)
def test_the_mixed_rule_knows_the_languages_articles(language, text, wanted):
    assert tokens(text, language=language, rule="mixed") == wanted


def test_f1_is_symmetric_and_between_0_and_1():
    source = random.Random(2)
    for _ in range(200):
        a, b = (" ".join(source.choices("pqrst", k=source.randint(1, 6))) for _ in "ab")
        value = f1(a, [b])
        assert value == f1(b, [a])
        assert 0 <= value <= 1
        assert (value == 1) == (Counter(a.split()) == Counter(b.split()))


def test_wrong_calls_are_refused():
    with pytest.raises(ValueError, match="squad or mixed"):
        f1("a", ["a"], rule="other")
    with pytest.raises(ValueError, match="right answer"):
        f1("a", [])
    with pytest.raises(ValueError, match="no items"):
        accuracy([])
    assert accuracy([True, False]) == 0.5
