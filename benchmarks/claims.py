"""The paper's claims, each with what would show it: an effect above 0 is what the paper says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Effect = tuple[str, float, float, float, str]  # where, value, low, high, how much
Found = list[Effect]


@dataclass(frozen=True)
class Rows:
    """An effect in a lab study: a row's score less another's, for each model of the grid.

    `shares`: that difference at the first share less that at the second. `models`: a row's score on
    the first less that on the second, where `less` is the row itself.
    """

    study: str
    row: str
    less: str
    shares: tuple[float, float] | None = None
    models: tuple[str, str] | None = None


@dataclass(frozen=True)
class Numbers:
    """Effects in an analysis: from its content to (where, value, low, high, how much) of each."""

    analysis: str
    find: Callable[[Mapping[str, Any]], Found]


@dataclass(frozen=True)
class Claim:
    """A claim, its section, what the effect is in words, and where it is looked for."""

    name: str
    section: str
    says: str
    effect: str
    tests: tuple[Rows | Numbers, ...] = field(default_factory=tuple)


def _interval(
    where: str, found: Mapping[str, Any], much: str
) -> tuple[str, float, float, float, str]:
    return where, found["value"], found["low"], found["high"], much


def _deviation_ranks(content: Mapping[str, Any]) -> Found:
    """The rank correlation of transfer with closeness: the deviation's, turned round."""
    return [
        (
            f"direct transfer, {name}",
            -one["rank"],
            -one["high"],
            -one["low"],
            f"{one['things']} points",
        )
        for name, one in content["correlations"].items()
        if one["low"] is not None
    ]


def _start_ranks(content: Mapping[str, Any]) -> Found:
    """Over fewer than five places anything from -1 to 1 may be."""
    return [
        (
            f"gain of {method}",
            one["rank"],
            -1.0 if one["low"] is None else one["low"],
            1.0 if one["high"] is None else one["high"],
            f"{one['things']} places",
        )
        for method, numbers in content["correlations"].items()
        for one in [numbers["cosine"]]
    ]


def _kinds(kind: str) -> Callable[[Mapping[str, Any]], Found]:
    def find(content: Mapping[str, Any]) -> Found:
        return [
            _interval(name, one["over_random"], f"{one['within']['items']} targets")
            for name, kinds in content["kinds"].items()
            for one in kinds
            if one["kind"] == kind
        ]

    return find


def _equal_loss(content: Mapping[str, Any]) -> Found:
    return [
        _interval(name, one["cosine"], f"{one['seeds']} seeds")
        for name, one in content["equal loss"].items()
        if one and one["seeds"] >= 3  # an interval over fewer is none
    ]


def _attention(content: Mapping[str, Any]) -> Found:
    """Of table1's analysis, or of one diagnosis."""
    if "measures" in content:
        return [
            _interval(
                f"{each['model']}, {each['task']} {each['target']}",
                each["leave_one_out"]["whole"]["difference"],
                f"{each['targets']} targets",
            )
            for each in content["measures"]
        ]
    reading = content["now"]["attention"]
    much = f"{reading['targets']} targets"
    return [_interval(_of(content), reading["leave_one_out"]["whole"]["difference"], much)]


def _of(content: Mapping[str, Any]) -> str:
    """Which model and languages a diagnosis is of; the lab's dominant language is a."""
    if content["source"] == "a":
        return f"lab, {content['task']}, dial {content['model']}"
    return f"{content['model']}, {content['task']} {content['target']}"


def _direction(content: Mapping[str, Any]) -> Found:
    found = content["now"]["direction"]
    return [_interval(_of(content), found["excess"], f"{found['items'][1]} items")] if found else []


def _expansion(content: Mapping[str, Any]) -> Found:
    """How much of the gradient's error the term takes away; exact, so without an interval."""
    return [
        (f"{name}, linear model", drop, drop, drop, "5 steps")
        for name, each in content["expansions"].items()
        for drop in [each["without the term"] - each["with it"]]
    ]


def _identity(content: Mapping[str, Any]) -> Found:
    """Where RepAlign 1 and 2 have one sign the gradients are aligned, else opposed: by panel."""
    found = []
    for panel in content["panels"]:
        product = panel["first"] * panel["second"]
        agrees = 1.0 if abs(product) < 1e-9 else panel["measured"] * product / abs(product)
        found.append((f"panel {panel['name']}", agrees, agrees, agrees, "exact"))
    return found


CLAIMS = (
    Claim(
        "Gradients align where representations do",
        "3.2, Eq. 2, Fig. 1",
        "in a linear model the inner product of two gradients follows from RepAlign 1 and 2",
        "the gradients' inner product, with the sign that Eq. 2 gives",
        (Numbers("fig1", _identity),),
    ),
    Claim(
        "FT and MTL raise gradient alignment by themselves",
        "5.1, Eq. 3, A.2",
        "the gradient after some steps has a term along the gradient of the inner product",
        "error of the gradient without the term less with it, as a share of its length",
        (Numbers("eq3", _expansion),),
    ),
    Claim(
        "Close representations transfer",
        "4, Fig. 2c",
        "the smaller the cosine deviation, the better direct transfer",
        "score of direct transfer in the closest world less that in the farthest; rank correlation",
        (
            Rows("lab fig2c", "Direct transfer", "Direct transfer", models=("high", "low")),
            Rows("lab fig2c", "Direct transfer", "Direct transfer", models=("high", "middle")),
            Numbers("fig2", _deviation_ranks),
        ),
    ),
    Claim(
        "Training on the dominant language pushes the target",
        "3.2, 4",
        "gradients of the two languages point the same way for the task's sake",
        "cosine of mean gradients less that with shuffled answers",
        (Numbers("diagnosis", _direction),),
    ),
    Claim(
        "Gradient alignment carries transfer",
        "3.2",
        "where gradients are aligned, learning the dominant language helps the target",
        "rank correlation of gradient alignment before training with the gain over zero-shot",
        (Numbers("lab mechanism", _start_ranks), Numbers("mechanism", _start_ranks)),
    ),
    Claim(
        "Attention goes to what contributes",
        "5.2, Table 1",
        "demonstrations that contribute more to the prediction get more attention",
        "attention on the demonstration that contributes most less that on the least",
        (Numbers("table1", _attention), Numbers("diagnosis", _attention)),
    ),
    Claim(
        "Related demonstrations align gradients",
        "5.2, Eq. 4",
        "a demonstration that is nearer to the target has gradients more like the target's",
        "cosine within an episode with a translation less with a random demonstration",
        (Numbers("lab mechanism", _kinds("parallel")), Numbers("mechanism", _kinds("parallel"))),
    ),
    Claim(
        "The same topic aligns gradients",
        "5.2",
        "and so has one of the same topic that is no translation",
        "cosine within an episode with the nearest other item less with a random demonstration",
        (
            Numbers("lab mechanism", _kinds("same topic")),
            Numbers("mechanism", _kinds("same topic")),
        ),
    ),
    Claim(
        "CL-ICP aligns with unseen items",
        "5.2",
        "learning in context aligns gradients with unseen data more than MTL does",
        "cosine with unseen items, CL-ICP less prompt-tuned MTL at equal loss",
        (Numbers("lab mechanism", _equal_loss), Numbers("mechanism", _equal_loss)),
    ),
    Claim(
        "CL-ICP beats MTL",
        "6.2, Table 2",
        "CL-ICP is better than multi-task learning",
        "score of CL-ICP less MTL's",
        (Rows("lab table2", "CL-ICP", "MTL"),),
    ),
    Claim(
        "CL-ICP beats FT",
        "6.2, Table 2",
        "CL-ICP is better than fine-tuning on the target language",
        "score of CL-ICP less FT's",
        (Rows("lab table2", "CL-ICP", "FT"),),
    ),
    Claim(
        "CL-ICP beats ShifCon",
        "6.2, Table 2",
        "CL-ICP is better than explicit alignment of representations",
        "score of CL-ICP less ShifCon's",
        (Rows("lab table2", "CL-ICP", "ShifCon"),),
    ),
    Claim(
        "CL-ICP beats prompt tuning without demonstrations",
        "6.4, Table 5",
        "the gain comes of the demonstrations, not of the soft prompt",
        "score of CL-ICP less prompt-tuned MTL's",
        (Rows("lab table2", "CL-ICP", "MTL, prompt tuning"),),
    ),
    Claim(
        "The representation shift helps CL-ICP",
        "5.2, 6.2, Table 2",
        "shifting targets to their demonstrations improves CL-ICP",
        "score of CL-ICP (S) less CL-ICP's",
        (Rows("lab table2", "CL-ICP (S)", "CL-ICP"),),
    ),
    Claim(
        "Both languages together beat the target's data alone",
        "5.1, 6.2",
        "MTL is better than FT",
        "score of MTL less FT's",
        (Rows("lab table2", "MTL", "FT"),),
    ),
    Claim(
        "CL-ICP gains most where data are few",
        "6.3, Fig. 5",
        "CL-ICP's lead over MTL grows as the target language's data shrink",
        "lead of CL-ICP over MTL (below 0 where it is behind) at a quarter of the data less at all",
        (Rows("lab fig5", "CL-ICP, s-t", "MTL, s-t", shares=(0.25, 1.0)),),
    ),
    Claim(
        "Mixed demonstrations beat dominant ones",
        "5.2, Table 3",
        "demonstrations of both languages are better than of the dominant one alone",
        "score with 3 mixed demonstrations less with 3 dominant ones",
        (Rows("lab demonstrations", "Mixed, 3", "Dominant, 3"),),
    ),
    Claim(
        "Mixed demonstrations beat target ones",
        "5.2, Table 3",
        "demonstrations of both languages are better than of the target language alone",
        "score with 3 mixed demonstrations less with 3 target ones",
        (Rows("lab demonstrations", "Mixed, 3", "Target, 3"),),
    ),
    Claim(
        "More demonstrations help",
        "5.2, Fig. 3",
        "three demonstrations are better than one",
        "score with 3 mixed demonstrations less with 1",
        (Rows("lab demonstrations", "Mixed, 3", "Mixed, 1"),),
    ),
)
