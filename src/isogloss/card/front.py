"""The front matter of a card, as the hub reads it: languages, base model, scores."""

from __future__ import annotations

from collections.abc import Mapping

from huggingface_hub import EvalResult, ModelCardData

from isogloss.card.facts import DATASETS, CardSettings, Facts
from isogloss.languages import LANGUAGES

TASK_TYPES: Mapping[str, str] = {
    "choice": "multiple-choice",
    "label": "text-classification",
    "span": "question-answering",
}


def front(facts: Facts, settings: CardSettings) -> ModelCardData:
    """Languages, base model, license, data and results; what is not known is left out."""
    record, task = facts.record, facts.task
    known = {language.code for language in LANGUAGES}
    tags = ["isogloss", "cross-lingual-transfer", record["method"]["name"]]
    tags.append(record["method"]["tune"]["name"])
    results = _results(facts) if facts.scores else None
    dataset = DATASETS.get(task.name)
    return ModelCardData(
        library_name="transformers" if facts.whole else "peft",
        pipeline_tag="text-generation",
        language=[code for code in (record["target"], record["dominant"]) if code in known],
        base_model=facts.base(settings),
        license=settings.license,
        datasets=[dataset] if dataset else None,
        metrics=list(facts.scores["metrics"]) if facts.scores else None,
        tags=list(dict.fromkeys(tags)),
        model_name=facts.name(settings) if results else None,
        eval_results=results,
    )


def _results(facts: Facts) -> list[EvalResult]:
    """One result a metric, with its interval."""
    scores = facts.scores or {}
    task = facts.task
    return [
        EvalResult(
            task_type=TASK_TYPES[task.kind],
            dataset_type=DATASETS.get(task.name, task.name),
            dataset_name=task.name,
            dataset_config=scores["language"],
            dataset_split="test",
            metric_type=name,
            metric_name=name.replace("_", " "),
            metric_value=round(interval["value"], 4),
            metric_args={
                "low": round(interval["low"], 4),
                "high": round(interval["high"], 4),
                "items": interval["items"],
                "interval": scores["interval"],
            },
        )
        for name, interval in scores["metrics"].items()
    ]
