"""The method to take: the best on held-out items, and in a sentence what the test items say of it.

Test items choose nothing. They say afterwards whether the chosen method is above zero-shot by more
than noise, by the table's own paired test with Holm's correction over all methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import final

from isogloss.comparing.planning import ZERO_SHOT
from isogloss.judging import HeldOut
from isogloss.reporting.comparisons import Comparison
from isogloss.runs import Run

Judged = Mapping[str, Mapping[int, tuple[Run, HeldOut]]]  # by method, then by seed


@final
@dataclass(frozen=True)
class Score:
    """A method on held-out items: mean over seeds and items, and the right option's mean loss."""

    value: float
    loss: float | None
    items: int
    seeds: tuple[int, ...]


@final
@dataclass(frozen=True)
class Recommendation:
    """The method and the run to take, and why, in one sentence."""

    method: str
    run: Run
    seed: int
    why: str


def held_out_scores(judged: Judged) -> dict[str, Score]:
    """Each method's score over the seeds that all judged methods have, or over its own if none."""
    common = set.intersection(*(set(by_seed) for by_seed in judged.values())) if judged else set()
    return {
        name: _score([by_seed[s] for s in sorted(common or by_seed)], sorted(common or by_seed))
        for name, by_seed in judged.items()
    }


def recommend(
    judged: Judged, metric: str, tests: Mapping[str, Comparison]
) -> Recommendation | None:
    """The best method by its held-out score; of equal ones that of the least loss, then the first.

    `tests` are each method's comparison with zero-shot on the test items. None where no method
    was judged.
    """
    scores = held_out_scores(judged)
    if not scores:
        return None
    best = min(scores, key=lambda name: _rank(scores[name]))  # min takes the first of equals
    seeds = {seed: _score([found], [seed]) for seed, found in judged[best].items()}
    seed = min(seeds, key=lambda number: _rank(seeds[number]))
    run = judged[best][seed][0]
    return Recommendation(best, run, seed, _why(best, scores, judged, metric, tests))


def _rank(score: Score) -> tuple[float, float]:
    return -score.value, float("inf") if score.loss is None else score.loss


def _score(found: Sequence[tuple[Run, HeldOut]], seeds: Sequence[int]) -> Score:
    held = [each for _, each in found]
    losses = [mean(each.losses.values()) for each in held if len(each.losses) == len(each.values)]
    return Score(
        mean(mean(each.values.values()) for each in held),
        mean(losses) if len(losses) == len(held) else None,
        len({name for each in held for name in each.values}),
        tuple(seeds),
    )


def _why(
    best: str,
    scores: Mapping[str, Score],
    judged: Judged,
    metric: str,
    tests: Mapping[str, Comparison],
) -> str:
    score = scores[best]
    by = next(iter(judged[best].values()))[1].by
    seeds = f"{len(score.seeds)} seed{'s' * (len(score.seeds) > 1)}"
    chosen = f"the best of {len(scores)} methods by {by} ({metric} {score.value:.3f}, {seeds})"
    if best == ZERO_SHOT:
        return f"No method beats zero-shot: it is {chosen}, so nothing needs to be trained."
    test = tests.get(best)
    if test is None:
        return f"{best}: {chosen}; there is no zero-shot score on the test items to set it against."
    said = _said(test)
    if test.better:
        return f"{best}: {chosen}; on the test items it is {said}."
    others = [name for name, each in tests.items() if each.better]
    if not others:
        return (
            f"No method beats zero-shot by more than noise: {best} is {chosen}, and on the test "
            f"items it is {said}."
        )
    return (
        f"{best}: {chosen}, but on the test items it does not beat zero-shot by more than noise "
        f"({said}); {' and '.join(others)} would, and yet test items must not choose."
    )


def _said(test: Comparison) -> str:
    """A tested difference to zero-shot in words."""
    found = test.test
    side = "above" if found.difference >= 0 else "below"
    low, high = sorted(end if found.difference >= 0 else -end for end in (found.low, found.high))
    return (
        f"{abs(found.difference):.3f} [{low:.3f}, {high:.3f}] {side} zero-shot "
        f"(p = {test.adjusted:.3g} after Holm's correction)"
    )
