"""`isogloss evaluate`."""

from __future__ import annotations

from isogloss.cli.output import print_json, print_table, say
from isogloss.evaluating import Scores, evaluate
from isogloss.settings import EvaluateSettings


def run(settings: EvaluateSettings) -> None:
    """Score a run and print the scores."""
    scores = evaluate(settings)
    if settings.json:
        print_json(scores.content)
        return
    _tell(scores)


def _tell(scores: Scores) -> None:
    content = scores.content
    columns = ("name", "value", "low", "high", "items", "difference", "p", "test")
    title = f"{content['task']}, {content['language']}: {content['metric']} (95% interval)"
    print_table(title, scores.rows(), columns)
    for name, interval in content["metrics"].items():
        if name != content["metric"]:
            span = f"[{interval['low']:.3f}, {interval['high']:.3f}]"
            say(f"{name}: {interval['value']:.3f} {span}")
    if content["baselines"]:
        say("difference: the run's score less the baseline's, on the same items")
    if content["skipped"]:
        say(f"skipped as too long: {len(content['skipped'])} (listed in scores.json)")
    say(f"settings chosen: {content.get('chosen', 'not recorded')}")
    say(f"written: {content['run']}")
