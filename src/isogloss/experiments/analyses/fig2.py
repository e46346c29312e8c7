"""Fig. 2: token and sentence maps, and direct transfer by cosine deviation (Section 4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from isogloss.alignment.cosine_deviation import default_layers, token_states
from isogloss.alignment.sentence_map import joint_plane, token_map
from isogloss.correlations import correlation
from isogloss.diagnosing.closeness import closeness
from isogloss.diagnosing.parallel_text import ParallelText, check_enough, from_task
from isogloss.encoding import Encoder
from isogloss.errors import RunError
from isogloss.experiments.analyses.analysis import (
    SIZES,
    Analysis,
    Findings,
    kept,
    need_models,
    seed_of,
    wanted,
)
from isogloss.gathering.folders import gather
from isogloss.model.load import Loaded, ModelOptions, identify, load
from isogloss.model.prompt import vocabulary_rows
from isogloss.outcomes import Outcome, short_model
from isogloss.reporting.drawing import Drawing
from isogloss.reporting.map_figures import SentencePlane, draw_sentence_planes, draw_token_maps
from isogloss.reporting.scatter import Axes, Point, scatter
from isogloss.runs import Json
from isogloss.settings import ReproduceSettings
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import make_split

PAIRS = 8  # sentence pairs for each target of a scale: 192 at smoke


def make(settings: ReproduceSettings, folder: Path) -> Findings:
    """Maps of every model in the first language asked for, deviations in all, scores from runs."""
    need_models(settings)
    places = list(wanted(settings, ("xquad",)))
    outcomes = gather(settings.runs).outcomes if settings.runs else ()
    rows: list[Json] = []
    drawings: list[Drawing] = []
    maps, lengths = {}, {}
    for model in settings.models:
        loaded = load(model, ModelOptions(settings.dtype, settings.device))
        name = Path(short_model(model)).name
        for task, target in places:
            text = _text(settings, task, target)
            rows.append(_deviation(settings, folder, (model, loaded), (task, target), text))
            if target == places[0][1]:
                maps[name], lengths[name], planes = _maps(loaded, text)
                place = f"fig2b-{name}"
                drawings.append(draw_sentence_planes(planes, place, name, ("en", target)))
    drawings.insert(0, draw_token_maps(maps, lengths, ("en", places[0][1])))
    points, correlations = _correlated(settings, rows, outcomes)
    if points:
        axes = Axes("cosine deviation", "score of direct transfer, %")
        title = "Direct transfer by cosine deviation (Fig. 2c)"
        drawings.append(scatter(points, "fig2c", title, axes))
    sentences = [
        f"{name}: rank correlation {found['rank']:+.2f} over {found['things']} points "
        f"(p = {found['p']:.2f})."
        for name, found in correlations.items()
    ]
    if not settings.runs:
        sentences.append("Fig. 2c needs evaluated runs of direct transfer: --runs FOLDER ...")
    elif not correlations:
        sentences.append(
            "Fig. 2c: fewer than three places of direct transfer with a deviation, or scores that "
            "are all the same."
        )
    return Findings(tuple(rows), tuple(sentences), tuple(drawings), {"correlations": correlations})


def _text(settings: ReproduceSettings, task: str, target: str) -> ParallelText:
    seed = seed_of(settings)
    opened = open_task(task, settings.data, BenchmarkSettings())
    text = from_task(opened, make_split(opened, target, seed=seed))
    text = text.sampled(settings.limit or PAIRS * SIZES[settings.scale], seed=seed)
    check_enough(len(text.own), text.where, "Raise --limit")
    return text


def _deviation(
    settings: ReproduceSettings,
    folder: Path,
    model: tuple[str, Loaded],
    place: tuple[str, str],
    text: ParallelText,
) -> Json:
    """The row of one model and language; kept, so that it is measured once."""
    name, loaded = model
    task, target = place
    asked: Json = {
        "model": identify(name),
        "task": task,
        "target": target,
        "seed": seed_of(settings),
    }
    asked |= {"pairs": len(text.own), "dtype": settings.dtype}
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model))
    short = Path(short_model(name)).name

    def measure() -> Any:
        return closeness(loaded, encoder, text, seed=seed_of(settings))

    found = kept(folder / "parts" / f"{short}-{task}-{target}.json", asked, measure)
    best = max(found["layers"], key=lambda layer: layer["retrieval"]["value"])
    return {
        "model": short_model(name),
        "task": task,
        "target": target,
        "deviation": found["deviation"]["value"],
        "low": found["deviation"]["low"],
        "high": found["deviation"]["high"],
        "centred": found["centred"]["value"],
        "retrieval": best["retrieval"]["value"],
        "in layer": best["layer"],
        "matched pairs": found["matched"],
    }


def _maps(loaded: Loaded, text: ParallelText) -> tuple[Any, int, list[SentencePlane]]:
    """Fig. 2a of the first pair, and Fig. 2b of all at the first, middle and last inner layer."""
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model))
    begin = encoder.demonstration_set(()).ids
    ids = [(*begin, *encoder.text_ids(sentence)) for sentence in (*text.own, *text.other)]
    ids = [each if len(each) > 1 else (*each, *each) for each in ids]
    layers = default_layers(loaded.model)
    shown = [layers[0], layers[len(layers) // 2], layers[-1]]
    count, pair, planes = len(text.own), [], []
    for layer, states in zip(layers, token_states(loaded.model, ids, layers), strict=True):
        pair.append((states[0], states[count]))
        if layer in shown:
            means = torch.stack([each.mean(dim=0) for each in states])
            planes.append(SentencePlane(layer, *joint_plane(means[:count], means[count:])))
    own, other = zip(*pair, strict=True)
    return token_map(own, other), len(own[0]), planes


def _correlated(
    settings: ReproduceSettings, rows: Sequence[Json], outcomes: Sequence[Outcome]
) -> tuple[list[Point], dict[str, Json]]:
    """Fig. 2c: outcomes of direct transfer beside the deviation of their model and language."""
    if not settings.runs:
        return [], {}
    known = {(row["model"], row["task"], row["target"]): row for row in rows}
    scores: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for outcome in outcomes:
        place = outcome.place
        key = (place.model, place.task, place.language)
        if outcome.method == "direct-transfer" and key in known:
            scores[key].append(outcome.score)
    if not scores:
        raise RunError(
            f"found no run of direct transfer in {', '.join(map(str, settings.runs))} with a model "
            "and a language that are measured here; give --models and --targets as its runs have"
        )
    points = []
    for (model, _, target), values in scores.items():
        row = known[model, "xquad", target]
        value = 100 * sum(values) / len(values)
        ends = (100 * min(values), 100 * max(values))
        points.append(
            Point(target, model, (row["deviation"], row["low"], row["high"]), (value, *ends))
        )
    series: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        series[f"over models, {point.label}"].append(point)
        series[f"over languages, {point.series}"].append(point)
    series["over all"] = points
    found = {
        name: correlation([p.x[0] for p in own], [p.y[0] for p in own], seed=0)
        for name, own in series.items()
        if len(own) >= 3
    }
    return points, {name: asdict(one) for name, one in found.items() if one.known}


FIG2 = Analysis(
    "fig2",
    "Representation alignment and direct transfer",
    "4",
    make,
    ("models", "runs", "tasks", "targets", "limit"),
)
