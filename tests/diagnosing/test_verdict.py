"""A diagnosis in words: each answer from intervals made by hand, and what references add."""

from __future__ import annotations

import dataclasses

import pytest

from isogloss.alignment.contribution import AttentionMeasure, Relation, Relations, Slot
from isogloss.alignment.gradient_alignment import Alignment
from isogloss.diagnosing import verdict
from isogloss.diagnosing.closeness import Closeness, LayerCloseness
from isogloss.diagnosing.direction import Direction
from isogloss.diagnosing.references import Reference, Transfer
from isogloss.diagnosing.verdict import (
    close_finding,
    direction_finding,
    expectation,
    findings,
    reading_finding,
)
from isogloss.intervals import Interval

BOTH = ("en", "tr")
SCORES = {"zero-shot": 0.2, "direct-transfer": 0.5, "mtl": 0.6, "cl-icp": 0.7}


def around(value: float, half: float = 0.0) -> Interval:
    return Interval(value, value - half, value + half, 40)


def close(
    deviation: float = 0.02, centred: float = 0.1, retrieval: float = 0.5, **given: object
) -> Closeness:
    """Three layers, of which the second has translations nearest most often."""
    layers = [
        LayerCloseness(n, around(deviation), around(centred), around(found))
        for n, found in ((1, retrieval / 2), (2, retrieval), (3, 0.0))
    ]
    made = Closeness(
        where="here",
        pairs=40,
        matched=30,
        tokens=(9.0, 10.0),
        deviation=around(deviation, 0.01),
        centred=around(centred, 0.01),
        unmatched=around(deviation),
        layers=tuple(layers),
    )
    return dataclasses.replace(made, **given)


def alignment(cosine: Interval, **given: object) -> Alignment:
    made = Alignment(around(1.0), cosine, None, around(0.3), None, None)
    return dataclasses.replace(made, **given)


def direction(cosine: Interval, excess: Interval, **given: object) -> Direction:
    made = Direction(
        what="a soft prompt of 10",
        items=(64, 40),
        translations=40,
        demonstrations=0,
        alignment=alignment(cosine),
        ceiling=0.9,
        floor=alignment(around(0.1)),
        excess=excess,
        unseen=None,
        residual=(),
        error=0.0,
        skipped=0,
    )
    return dataclasses.replace(made, **given)


def attention(difference: Interval, orders: str = "cyclic") -> AttentionMeasure:
    relation = Relation(around(0.2), around(0.1), difference, around(0.75), around(0.5))
    other = dataclasses.replace(relation, difference=around(-9.0))
    slots = tuple(Slot(around(n / 10), around(n - 1.5)) for n in (1, 2, 3))
    relations = Relations(relation, other, other)
    turned = Relations(other, other, other)
    return AttentionMeasure(24, 3, orders, relations, turned, slots)  # type: ignore[arg-type]


def reference(model: str, **given: object) -> Reference:
    made = Reference(
        model=model,
        source="en",
        target="tr",
        task="xquad",
        command="isogloss diagnose",
        deviation=0.02,
        centred=0.1,
        retrieval=0.5,
        cosine=None,
        excess=None,
        reading=None,
        transfer=Transfer(SCORES, 3, 500),
    )
    return dataclasses.replace(made, **given)


@pytest.fixture
def known(monkeypatch):
    """Gives the verdict these references in place of the package's."""

    def put(*rows: Reference) -> None:
        monkeypatch.setattr(verdict, "references", lambda: rows)

    return put


# ---- are the two languages close? ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("deviation", "answer", "below"),
    [(0.005, "near", 3), (0.015, "neither near nor far", 2), (0.05, "far", 0)],
)
def test_near_and_far_are_said_among_references(known, deviation, answer, below) -> None:
    known(*(reference(f"m{n}", deviation=n / 100) for n in (1, 2, 3)))
    found = close_finding(close(deviation), BOTH)
    assert found.answer == answer
    said = " ".join(found.sentences)
    assert f"Cosine deviation {deviation:.3f} [" in said
    assert f"smaller than {below} of 3 reference pairs" in said
    assert (
        "Translations are the nearest sentences for 50% [50%, 50%] of the pairs in layer 2" in said
    )


def test_without_references_near_and_far_are_not_said(known) -> None:
    known(reference("m1"), reference("m2"))
    found = close_finding(close(note="only 3 pairs are of comparable length"), BOTH)
    assert found.answer == "not to be said without references"
    assert "reference pairs" not in " ".join(found.sentences)
    assert found.sentences[-1] == "Only 3 pairs are of comparable length."


# ---- does training push the right way? -----------------------------------------------------------

DIRECTIONS = {
    "no, the wrong way": ((-0.2, 0.1), (0.3, 0.1)),
    "yes": ((0.3, 0.1), (0.2, 0.1)),
    "not decided: too few items": ((0.05, 0.1), (0.2, 0.1)),
    "no: shuffled answers are pushed more": ((0.3, 0.1), (-0.2, 0.1)),
    "only to the answers' form, as far as one can see": ((0.3, 0.1), (0.02, 0.1)),
}


@pytest.mark.parametrize("answer", DIRECTIONS)
def test_which_way_is_pushed(answer: str) -> None:
    cosine, excess = (around(*given) for given in DIRECTIONS[answer])
    found = direction_finding(direction(cosine, excess), BOTH)
    assert found.question == "Does training on en push tr the right way?"
    assert found.answer == answer
    said = " ".join(found.sentences)
    assert (
        f"64 items in en and 40 in tr by a soft prompt of 10 have the cosine {cosine.value:.3f} ["
        in said
    )
    assert f"is {excess.value:+.3f} [" in said
    assert "Single items" not in said
    assert "held-out" not in said
    assert "projected" not in said


@pytest.mark.parametrize("excess", [0.2, 0.0, -0.2])
@pytest.mark.parametrize("cosine", [0.05, -0.05])
def test_a_cosine_that_may_be_0_decides_nothing(cosine: float, excess: float) -> None:
    """Above the shuffled answers' is not yet the right way: theirs may be far below 0."""
    found = direction_finding(direction(around(cosine, 0.1), around(excess, 0.1)), BOTH)
    assert found.answer == "not decided: too few items"


@pytest.mark.parametrize("excess", [0.05, -0.05])
def test_an_excess_that_may_be_0_leaves_the_form_alone(excess: float) -> None:
    found = direction_finding(direction(around(0.3, 0.1), around(excess, 0.1)), BOTH)
    assert found.answer == "only to the answers' form, as far as one can see"


def test_what_else_was_measured_is_said() -> None:
    pairs = alignment(around(0.3, 0.1), translations=around(0.6), others=around(0.25))
    more = direction(
        around(0.3, 0.1),
        around(0.2, 0.1),
        alignment=pairs,
        unseen=alignment(around(0.44)),
        error=0.0156,
    )
    said = " ".join(direction_finding(more, BOTH).sentences)
    assert "0.300 [0.300, 0.300] on average, 0.600 [0.600, 0.600] for translations" in said
    assert "0.250 [0.250, 0.250] for other pairs" in said
    assert "Against held-out items in tr: 0.440" in said
    assert "standard error of at most 0.016" in said


# ---- are the demonstrations read? ----------------------------------------------------------------

READINGS = {
    "yes: more where more is contributed": (0.02, 0.01),
    "no: less where more is contributed": (-0.02, 0.01),
    "no sign that attention follows what is contributed": (0.005, 0.01),
}


@pytest.mark.parametrize("answer", READINGS)
def test_what_is_read(answer: str) -> None:
    """By the whole demonstration's attention, and by what is lost without it."""
    found = reading_finding(attention(around(*READINGS[answer])))
    assert found.answer == answer
    assert f"{READINGS[answer][0]:+.3f} [" in found.sentences[0]
    assert "over 24 targets (every demonstration in every slot)" in found.sentences[0]
    assert "for 75% [75%, 75%] of them" in found.sentences[0]
    assert "attention 0.100, 0.200, 0.300; nats" in found.sentences[1]
    assert "-0.50, +0.50, +1.50" in found.sentences[1]


def test_one_order_of_demonstrations_is_said() -> None:
    found = reading_finding(attention(around(0.02, 0.01), "slot-centred"))
    assert "(slots centred)" in found.sentences[0]


# ---- what to expect ------------------------------------------------------------------------------


def test_nothing_is_expected_without_measured_transfer(known) -> None:
    known(*(reference(f"m{n}", transfer=None) for n in range(4)))
    assert [each.answer for each in expectation(close(), None)] == ["not known", "not known"]
    known()
    assert [each.answer for each in expectation(close(), None)] == ["not known", "not known"]


def test_the_reference_most_alike_says_what_to_expect(known) -> None:
    lost = Transfer({"zero-shot": 0.4, "direct-transfer": 0.3, "icl-mixed": 0.45}, 2, 100)
    known(
        reference("far", deviation=0.2, transfer=lost),
        reference("near", deviation=0.02),
        reference("further", deviation=0.3),
    )
    expected, tried = expectation(close(0.03), None)
    assert expected.answer == "a gain"
    assert "Of 3 references with measured transfer, near en-tr (xquad)" in expected.sentences[0]
    assert (
        "came to 0.50 from 0.20 without training, a mean of 3 seeds on 500" in expected.sentences[1]
    )
    assert tried.answer == "cl-icp"
    assert "cl-icp 0.70, mtl 0.60, direct-transfer 0.50, zero-shot 0.20" in tried.sentences[0]
    expected, tried = expectation(close(0.19), None)
    assert "far en-tr (xquad)" in expected.sentences[0]
    assert expected.answer == "no gain"
    assert tried.answer == "icl-mixed"


def test_alike_is_by_the_spread_of_each_number(known) -> None:
    """A fifth of the deviations' spread of .1 is nearer than half of the retrievals' of .02."""
    known(
        reference("retrieval", deviation=0.03, retrieval=0.51),
        reference("deviation", deviation=0.01, retrieval=0.50),
        reference("third", deviation=0.11, retrieval=0.52, transfer=None),
    )
    expected, _ = expectation(close(0.03, retrieval=0.50), None)
    assert "Of 2 references with measured transfer, deviation en-tr" in expected.sentences[0]


def test_gradients_count_where_both_have_them(known) -> None:
    """By closeness alone the first is as near; by gradients the second is."""
    known(
        reference("against", cosine=-0.4, excess=-0.1),
        reference("along", cosine=0.4, excess=0.2, centred=0.11),
        reference("unmeasured", deviation=0.3, centred=0.3, retrieval=0.9),
    )
    pushed = direction(around(0.4), around(0.2))
    assert "against en-tr" in expectation(close(), None)[0].sentences[0]
    assert "along en-tr" in expectation(close(), pushed)[0].sentences[0]


def test_a_number_more_is_no_distance_more(known) -> None:
    """Five numbers at .3 of their spread are nearer than three at .4."""

    def at(model: str, place: float, **given: object) -> Reference:
        return reference(model, deviation=place, centred=place, retrieval=place, **given)

    known(
        at("three", 0.4),
        at("five", 0.3, cosine=0.3, excess=0.3),
        at("most", 1.0, cosine=1.0, excess=1.0),
        at("least", 0.0, cosine=0.0, excess=0.0, transfer=None),
    )
    pushed = direction(around(0.0), around(0.0))
    found = expectation(close(0.0, 0.0, 0.0), pushed)[0].sentences[0]
    assert "five en-tr" in found


def test_a_reference_without_transfer_is_never_the_one(known) -> None:
    known(reference("same", transfer=None), reference("other", deviation=0.9))
    assert "other en-tr" in expectation(close(), None)[0].sentences[0]


def test_only_what_was_measured_is_answered(known) -> None:
    known()
    pushed, read = direction(around(0.3, 0.1), around(0.2, 0.1)), attention(around(0.02, 0.01))
    assert len(findings(close(), None, None, BOTH)) == 3
    assert [each.question for each in findings(close(), pushed, read, BOTH)] == [
        "Are the two languages close?",
        "Does training on en push tr the right way?",
        "Does the model read its demonstrations?",
        "What to expect of direct transfer?",
        "Which method to try?",
    ]
