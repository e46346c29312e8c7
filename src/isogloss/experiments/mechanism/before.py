"""Gradient alignment at the start against what transfer gains later (Sections 3 and 4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from isogloss.correlations import Correlation, correlation
from isogloss.diagnosing.diagnosis import Diagnosis, diagnose
from isogloss.errors import RunError
from isogloss.gathering.folders import gather
from isogloss.intervals import Interval
from isogloss.outcomes import Outcome
from isogloss.runs import Json
from isogloss.settings import DiagnoseSettings

BASELINE = "zero-shot"
PREDICTORS = ("cosine", "excess", "residual", "deviation")
Place = tuple[str, str, str]  # model, task, language


@final
@dataclass(frozen=True)
class Start:
    """A model, task and language before training, and what each method gained there later.

    `cosine`: gradient alignment by a soft prompt, `excess` over shuffled answers, `residual` by
    hidden states (mean over layers), `deviation` the cosine deviation. `gains`: by method, the mean
    over seeds of its score less the untuned model's.
    """

    place: Place
    cosine: Interval
    excess: Interval
    residual: float
    deviation: Interval
    gains: dict[str, tuple[float, float, float]]


@final
@dataclass(frozen=True)
class Probe:
    """How a place is measured: items of a language, text for the cosine deviation, and where.

    `kept` gives what was measured before for a name and a question, or measures and keeps it.
    """

    items: int
    seed: int
    parallel: tuple[Path, ...]
    folder: Path
    kept: Callable[[str, Json, Callable[[], Any]], Json]


def starts(runs: Sequence[Path], probe: Probe) -> list[Start]:
    """For every model, task and language that the runs have a trained method and zero-shot of.

    Raises:
        RunError: no run has both.
    """
    outcomes: dict[Place, list[Outcome]] = defaultdict(list)
    for folder in runs:  # one by one: two studies may have trained the same run
        for outcome in gather([folder]).outcomes:
            place = outcome.place
            if place.share == 1:
                outcomes[place.model, place.task, place.language].append(outcome)
    found = []
    for where, own in sorted(outcomes.items()):
        gains = _gains(own)
        trained = [each for each in own if each.method in gains]
        if gains:
            measured = _measured(trained[0], where, probe)
            found.append(_start(where, measured, gains))
    if not found:
        raise RunError(
            f"found no model and language in {', '.join(map(str, runs))} with both a trained "
            "method and zero-shot; evaluate with --baseline, or give a grid's folder"
        )
    return found


def _gains(outcomes: Sequence[Outcome]) -> dict[str, tuple[float, float, float]]:
    """By method: mean gain over seeds, the least and the greatest."""
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for outcome in outcomes:
        scores[outcome.method][outcome.place.seed] = outcome.score
    base = scores.pop(BASELINE, {})
    trained = {each.method for each in outcomes if each.record["method"]["stages"]}
    gains = {}
    for method, by_seed in scores.items():
        own = [score - base[seed] for seed, score in by_seed.items() if seed in base]
        if own and method in trained:
            gains[method] = sum(own) / len(own), min(own), max(own)
    return gains


def _measured(outcome: Outcome, place: Place, probe: Probe) -> Json:
    source = outcome.record["source"]
    model = outcome.record["model"]["fingerprint"]
    name = "-".join([model[:8], place[1], place[2]])
    asked: Json = {"model": model, "task": place[1], "target": place[2], "seed": probe.seed}
    asked |= {"items": probe.items, "parallel": [str(path) for path in probe.parallel]}

    def measure() -> Json:
        settings = DiagnoseSettings(
            model=source["model"],
            task=source["task"],
            data=source["data"],
            target=place[2],
            parallel=probe.parallel,
            items=probe.items,
            readers=0,
            seed=probe.seed,
            out=probe.folder / "parts" / name,
        )
        return _numbers(diagnose(settings))

    return probe.kept(name, asked, measure)


def _numbers(found: Diagnosis) -> Json:
    content = found.content["now"]
    direction = content["direction"]
    layers = [layer["cosine"]["value"] for layer in direction["residual"]]
    return {
        "cosine": direction["alignment"]["cosine"],
        "excess": direction["excess"],
        "residual": sum(layers) / len(layers),
        "deviation": content["closeness"]["deviation"],
    }


def _start(place: Place, measured: Json, gains: dict[str, tuple[float, float, float]]) -> Start:
    intervals = {name: Interval(**measured[name]) for name in ("cosine", "excess", "deviation")}
    return Start(place, residual=measured["residual"], gains=gains, **intervals)


def number_of(start: Start, name: str) -> float:
    """One of the numbers of `PREDICTORS`."""
    value = getattr(start, name)
    return float(value.value if isinstance(value, Interval) else value)


def foretold(found: Sequence[Start], *, seed: int = 0) -> dict[str, dict[str, Correlation]]:
    """By method and number: its correlation with the gain, over three or more places."""
    methods = sorted({method for start in found for method in start.gains})
    made: dict[str, dict[str, Correlation]] = {}
    for method in methods:
        own = [start for start in found if method in start.gains]
        if len(own) >= 3:
            gains = [start.gains[method][0] for start in own]
            made[method] = {
                name: correlation([number_of(start, name) for start in own], gains, seed=seed)
                for name in PREDICTORS
            }
    return made
