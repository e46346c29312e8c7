"""A diagnosis in words: a sentence for every number, held against measured references.

Nothing here is a threshold of taste. A difference is said to be one where its 95% interval leaves
out 0; "near" or "far" is where a number stands among the reference values that come with the
package; what to expect of transfer is what was measured where the languages stood most alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from isogloss.alignment.contribution import AttentionMeasure
from isogloss.diagnosing.closeness import Closeness
from isogloss.diagnosing.direction import Direction
from isogloss.diagnosing.references import Reference, Standing, references, standing
from isogloss.intervals import Interval

THIRDS = {"low": "near", "middle": "neither near nor far", "high": "far"}


@final
@dataclass(frozen=True)
class Finding:
    """A question, its answer in a few words, and the sentences that give the numbers."""

    question: str
    answer: str
    sentences: tuple[str, ...]


def findings(
    close: Closeness,
    found: Direction | None,
    reading: AttentionMeasure | None,
    languages: tuple[str, str],
) -> tuple[Finding, ...]:
    """All that can be said of one state of a model, in the order that a reader wants it."""
    made = [close_finding(close, languages)]
    if found:
        made.append(direction_finding(found, languages))
    if reading:
        made.append(reading_finding(reading))
    return (*made, *expectation(close, found))


def close_finding(close: Closeness, languages: tuple[str, str]) -> Finding:
    """Are the two languages close?"""
    known = references()
    place = standing(close.deviation.value, "deviation", known)
    best = close.best
    sentences = [
        f"Cosine deviation {number(close.deviation)} over layers {_span(close)}: a token of "
        f"{languages[0]} is that much nearer to a random other sentence of its own language than "
        "to the translation (0: no difference; smaller is closer).",
        f"{_standing_said(place)}Without the languages' common mean: {number(close.centred)}.",
        f"Translations are the nearest sentences for {percent(best.retrieval)} of the pairs in "
        f"layer {best.layer}, where that is most often.",
    ]
    if close.note:
        sentences.append(close.note[0].upper() + close.note[1:] + ".")
    answer = THIRDS[place.third] if place else "not to be said without references"
    return Finding("Are the two languages close?", answer, tuple(sentences))


def direction_finding(found: Direction, languages: tuple[str, str]) -> Finding:
    """Does training on the dominant language push the target the right way?"""
    own, other = languages
    cosine, over = found.alignment.cosine, found.excess
    if cosine.high < 0:
        answer = "no, the wrong way"
    elif cosine.low <= 0:
        answer = "not decided: too few items"
    elif over.low > 0:
        answer = "yes"
    elif over.high < 0:
        answer = "no: shuffled answers are pushed more"
    else:
        answer = "only to the answers' form, as far as one can see"
    sentences = [
        f"The mean gradients of {found.items[0]} items in {own} and {found.items[1]} in {other} by "
        f"{found.what} have the cosine {number(cosine)}; of a cosine of 1 the noise of so few "
        f"items would leave {found.ceiling:.2f}.",
        f"With the answers in {other} shuffled it is {number(found.floor.cosine)}, so what is the "
        f"task's, and not the answers' form alone, is {number(over, signed=True)}.",
    ]
    pairs = found.alignment
    if pairs.translations and pairs.others:
        sentences.append(
            f"Single items: {number(pairs.pairwise)} on average, {number(pairs.translations)} for "
            f"translations of each other and {number(pairs.others)} for other pairs."
        )
    if found.unseen:
        sentences.append(f"Against held-out items in {other}: {number(found.unseen.cosine)}.")
    if found.error:
        sentences.append(
            f"Gradients were projected at random, which adds a standard error of at most "
            f"{found.error:.3f} to a cosine."
        )
    question = f"Does training on {own} push {other} the right way?"
    return Finding(question, answer, tuple(sentences))


def reading_finding(found: AttentionMeasure) -> Finding:
    """Does the model read its demonstrations: most, those that contribute most?"""
    relation = found.leave_one_out.whole
    over = relation.difference
    if over.low > 0:
        answer = "yes: more where more is contributed"
    elif over.high < 0:
        answer = "no: less where more is contributed"
    else:
        answer = "no sign that attention follows what is contributed"
    slots = ", ".join(f"{slot.attention.value:.3f}" for slot in found.slots)
    gained = ", ".join(f"{slot.contribution.value:+.2f}" for slot in found.slots)
    ordered = "every demonstration in every slot" if found.orders == "cyclic" else "slots centred"
    return Finding(
        "Does the model read its demonstrations?",
        answer,
        (
            f"Attention on the demonstration that contributes most, less that on the one that "
            f"contributes least: {number(over, signed=True)} over {found.targets} targets "
            f"({ordered}); the first is greater for {percent(relation.above)} of them.",
            f"By slot, the last next to the target: attention {slots}; nats that the answer's "
            f"log-probability loses without it {gained}.",
        ),
    )


def expectation(close: Closeness, found: Direction | None) -> tuple[Finding, Finding]:
    """What to expect of direct transfer, and which method to try, from where it was measured."""
    known = [each for each in references() if each.transfer]
    if not known:
        unknown = ("No reference comes with measured transfer.",)
        return (
            Finding("What to expect of direct transfer?", "not known", unknown),
            Finding("Which method to try?", "not known", unknown),
        )
    near = _most_alike(close, found, known)
    transfer = near.transfer
    assert transfer is not None, "only those with transfer were asked"
    basis = (
        f"Of {len(known)} references with measured transfer, {near.name} stands most alike "
        f"(cosine deviation {near.deviation:.3f}, retrieval {near.retrieval:.0%})."
    )
    what = (
        f"There direct transfer came to {transfer.scores['direct-transfer']:.2f} from "
        f"{transfer.scores['zero-shot']:.2f} without training, a mean of {transfer.seeds} seeds on "
        f"{transfer.items} items."
    )
    gained = "a gain" if transfer.gain > 0 else "no gain"
    expected = Finding("What to expect of direct transfer?", gained, (basis, what))
    others = ", ".join(
        f"{name} {score:.2f}"
        for name, score in sorted(transfer.scores.items(), key=lambda pair: -pair[1])
    )
    tried = Finding(
        "Which method to try?",
        transfer.best,
        (
            f"There the scores were: {others}.",
            "One like case is thin evidence: `isogloss compare` measures them on your own task.",
        ),
    )
    return expected, tried


def _most_alike(close: Closeness, found: Direction | None, known: Sequence[Reference]) -> Reference:
    """The reference nearest in all numbers that both have, each in units of its spread."""
    own = {
        "deviation": close.deviation.value,
        "centred": close.centred.value,
        "retrieval": close.best.retrieval.value,
    }
    if found:
        own |= {"cosine": found.alignment.cosine.value, "excess": found.excess.value}

    def distance(each: Reference) -> float:
        total, count = 0.0, 0
        for name, value in own.items():
            values = [getattr(one, name) for one in references() if getattr(one, name) is not None]
            there = getattr(each, name)
            spread = max(values) - min(values) if values else 0.0
            if there is not None and spread > 0:
                total += abs(value - there) / spread
                count += 1
        return total / count if count else float("inf")

    return min(known, key=distance)


def _standing_said(place: Standing | None) -> str:
    if place is None:
        return ""
    return (
        f"That is smaller than {place.below} of {place.of} reference pairs; the nearest is "
        f"{place.nearest.name}. "
    )


def _span(close: Closeness) -> str:
    return f"{close.inner[0].layer} to {close.inner[-1].layer}"


def number(interval: Interval, *, signed: bool = False) -> str:
    """A number with its interval.

    >>> number(Interval(0.5, 0.25, 0.75, 10))
    '0.500 [0.250, 0.750]'
    """
    mark = "+" if signed else ""
    return f"{interval.value:{mark}.3f} [{interval.low:{mark}.3f}, {interval.high:{mark}.3f}]"


def percent(interval: Interval) -> str:
    """A share with its interval, in percent."""
    return f"{interval.value:.0%} [{interval.low:.0%}, {interval.high:.0%}]"
