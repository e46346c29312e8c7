"""Exact match and F1 of spans, accuracy of choices (Section 6.1): pure functions of texts.

The rule `squad` is that of SQuAD v1.1's official scorer (Rajpurkar et al. 2016), for every
language, as XTREME and the paper's numbers have it. The rule `mixed` is MLQA's (Lewis et al.
2020): punctuation of any script, articles of the language, and for Chinese a token per character.
MLQA's scorer refuses languages beyond its seven; here one without a row in ARTICLES has none.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

# MLQA's lists; the scorer there has none for the languages not named, and refuses tr and el.
ARTICLES: Mapping[str, str] = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": r"\sال^|ال",
    # Not in MLQA: Greek articles in all cases; Turkish has none but the numeral "bir".
    "el": r"\b(ο|η|το|οι|τα|του|της|των|τον|την|τους|τις|ένας|μια|μία|ένα|ενός|μιας|έναν)\b",
}
CHARACTERWISE = ("zh",)


def exact_match(
    prediction: str, answers: Sequence[str], *, language: str = "en", rule: str = "squad"
) -> float:
    """1.0 where the prediction equals an answer after normalisation, else 0.0.

    Raises:
        ValueError: there is no such rule, or no answer.

    >>> exact_match("The Broncos!", ["Broncos", "Denver Broncos"])
    1.0
    """
    return _best(_same, prediction, answers, language, rule)


def f1(
    prediction: str, answers: Sequence[str], *, language: str = "en", rule: str = "squad"
) -> float:
    """The token F1 with the nearest answer, in [0, 1]; 0 where no token is common.

    Raises:
        ValueError: there is no such rule, or no answer.

    >>> round(f1("the Denver Broncos team", ["Denver Broncos"]), 3)
    0.8
    """
    return _best(_overlap, prediction, answers, language, rule)


def accuracy(correct: Sequence[bool]) -> float:
    """The share of right answers, in [0, 1].

    Raises:
        ValueError: there are none.

    >>> accuracy([True, False, True, True])
    0.75
    """
    if not correct:
        raise ValueError("accuracy of no items")
    return sum(map(bool, correct)) / len(correct)


def tokens(text: str, *, language: str = "en", rule: str = "squad") -> list[str]:
    """The tokens of a text that the scores compare.

    >>> tokens("An apple, the pear", rule="squad")
    ['apple', 'pear']
    >>> tokens("水从Apple流出。", language="zh", rule="mixed")
    ['水', '从', 'apple', '流', '出']
    """
    if rule == "squad":
        return _squad(text)
    if rule == "mixed":
        return _mixed(text, language)
    raise ValueError(f"rule is '{rule}'; expected squad or mixed")


def _squad(text: str) -> list[str]:
    kept = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return re.sub(ARTICLES["en"], " ", kept).split()


def _mixed(text: str, language: str) -> list[str]:
    kept = "".join(sign for sign in text.lower() if not _is_punctuation(sign))
    if language in ARTICLES:
        kept = re.sub(ARTICLES[language], " ", kept)
    if language in CHARACTERWISE:
        kept = re.sub(r"([\u4e00-\u9fa5])", r" \1 ", kept)
    return kept.split()


def _is_punctuation(sign: str) -> bool:
    # As in MLQA: ASCII's $ + < = > ^ ` | ~ count too, which Unicode calls symbols.
    return sign in string.punctuation or unicodedata.category(sign).startswith("P")


def _same(prediction: Sequence[str], answer: Sequence[str]) -> float:
    return float(list(prediction) == list(answer))


def _overlap(prediction: Sequence[str], answer: Sequence[str]) -> float:
    common = sum((Counter(prediction) & Counter(answer)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(answer)
    return 2 * precision * recall / (precision + recall)


def _best(
    compare: Callable[[Sequence[str], Sequence[str]], float],
    prediction: str,
    answers: Sequence[str],
    language: str,
    rule: str,
) -> float:
    if not answers:
        raise ValueError("a span needs at least one right answer")
    own = tokens(prediction, language=language, rule=rule)
    return max(compare(own, tokens(text, language=language, rule=rule)) for text in answers)
