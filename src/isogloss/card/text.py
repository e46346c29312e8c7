"""The text of a card, section by section, all of it from the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isogloss.card.facts import CardSettings, Facts
from isogloss.card.loading import loading
from isogloss.languages import LANGUAGES
from isogloss.runs import Json

PAPER = "Rethinking Alignment in Cross-Lingual Knowledge Transfer"


def text(facts: Facts, settings: CardSettings) -> str:
    """The card without its front matter."""
    parts = [
        f"# {facts.name(settings)}",
        _summary(facts, settings),
        _section("Task, languages and data", _data(facts)),
        _section("Method and settings", _method(facts)),
        _section("Scores", _scores(facts.scores)),
        _section("How to load it", loading(facts, settings)),
        _section("Intended use and limits", _limits(facts, settings)),
        _section("How it was made", _making(facts.record)),
        _section("Citation", _citation(facts.record)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _summary(facts: Facts, settings: CardSettings) -> str:
    record, method = facts.record, facts.record["method"]
    kind = "All parameters of" if facts.whole else f"A PEFT adapter ({method['tune']['name']}) for"
    base = facts.base(settings) or Path(record["source"]["model"]).name
    return (
        f"{kind} `{base}`, trained with Isogloss to answer "
        f"`{record['task']['name']}` in {_language(record['target'])}, with what the model knows "
        f"of the task in {_language(record['dominant'])}: method `{method['name']}`, "
        f"{method['summary']}."
    )


def _language(code: str) -> str:
    names = {language.code: language.name for language in LANGUAGES}
    return f"{names[code]} (`{code}`)" if code in names else f"`{code}`"


def _data(facts: Facts) -> str:
    record, sizes = facts.record, facts.record["sizes"]
    judge = record.get("validation_language", record["target"])
    rows = [
        ("D_s, training", record["dominant"], sizes["dominant"]),
        ("D_t, training", record["target"], sizes["target"]),
        ("validation", judge, sizes["validation"]),
        ("test", record["target"], sizes["test"]),
    ]
    wording = facts.task.wording(record["target"])
    digests = [(f"`{name}`", f"`{digest}`") for name, digest in record["data"].items()]
    task = record["task"]
    return "\n\n".join(
        [
            f"`{task['name']}`: kind {task['kind']}, metric {task['metric']}; "
            f"{_share(record)}. An item is worded as `{wording.input!r}`, "
            f"its answer as `{wording.answer!r}`.",
            _table(("set", "language", "items"), rows),
            "SHA-256 of the data:",
            _table(("file", "SHA-256"), digests),
        ]
    )


def _share(record: Json) -> str:
    share = f"{100 * record['share']:g}% of the training items in `{record['target']}`"
    limit = f", at most {record['limit']} items of a set" if record["limit"] else ""
    steps = ", with the updates that all of them would give" if record.get("match_steps") else ""
    return share + limit + steps


def _method(facts: Facts) -> str:
    record, method = facts.record, facts.record["method"]
    rows: list[Sequence[Any]] = [("batch size", method["batch_size"])]
    for number, stage in enumerate(method["stages"], start=1):
        words = ", ".join(f"{name.replace('_', ' ')} {_shown(stage[name])}" for name in stage)
        rows.append((f"stage {number}", words))
    for part, title in (("tune", "what learns"), ("context", "demonstrations"), ("loss", "loss")):
        values = dict(method[part])
        if values.get("start_file"):  # without the folders of this machine
            values["start_file"] = Path(values["start_file"]).name
        words = ", ".join(f"{name.replace('_', ' ')} {_shown(one)}" for name, one in values.items())
        rows.append((title, words))
    rows.append(("gradient accumulation", record["gradient_accumulation"]))
    rows.append(("updates of each stage", _shown(record.get("updates", "not recorded"))))
    return "\n\n".join(
        [
            f"`{method['name']}`, section {method['section']} of the paper below: "
            f"{method['summary']}.",
            _table(("setting", "value"), rows),
            f"How the settings were chosen: {record.get('chosen', 'not recorded')}. Test items "
            "are not used for it.",
        ]
    )


def _scores(scores: Json | None) -> str:
    if scores is None:
        return "The run has not been evaluated: no score is known."
    setting = scores["setting"]
    metrics = [
        (name.replace("_", " "), *_interval(interval), interval["items"])
        for name, interval in scores["metrics"].items()
    ]
    shown = "the run's" if setting["demonstrations"] == "from-run" else "no"
    parts = [
        f"Test items in {_language(scores['language'])}, with {shown} demonstrations in context; "
        f"options are compared by their log-probability ({setting['normalisation']}). "
        f"Intervals: {scores['interval']}.",
        _table(("metric", "value", "95% interval", "items"), metrics),
    ]
    if scores["baselines"]:
        rows = [_baseline(row) for row in scores["baselines"]]
        parts.append("The untuned model on the same items, and the difference to it:")
        head = ("baseline", "value", "95% interval", "difference", "p", "test")
        parts.append(_table(head, rows))
    if scores["skipped"]:
        parts.append(f"{len(scores['skipped'])} items were too long and are not counted.")
    return "\n\n".join(parts)


def _baseline(row: Json) -> tuple[str, ...]:
    difference = f"{row['difference']:+.3f}"
    return (row["name"], *_interval(row), difference, f"{row['p']:.3g}", row["test"])


def _interval(row: Json) -> tuple[str, str]:
    return f"{row['value']:.3f}", f"[{row['low']:.3f}, {row['high']:.3f}]"


def _limits(facts: Facts, settings: CardSettings) -> str:
    record = facts.record
    license = (
        f"`{settings.license}`, as its publisher states; the base model's own license may bind too."
        if settings.license
        else "not stated. The base model's and the data's licenses may bind whoever uses this."
    )
    return (
        f"Made for items of `{record['task']['name']}` in {_language(record['target'])}, worded as "
        "above. Other wordings, tasks and languages were not tested, and what the base model gets "
        "wrong or takes from its data is likely still there. The intervals say how far the score "
        "may be from that on other items of the same kind; one seed says nothing of the spread "
        f"between seeds.\n\nLicense: {license}"
    )


def _making(record: Json) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    model = record["model"]
    return (
        f"Seed {record['seed']}, {model['dtype']}, attention `{model['attention']}`, quantisation "
        f"{model['quantization']}, on `{record['device']}`. {versions}.\n\n"
        f"Run key `{record['key']}`, fingerprint of the base model `{model['fingerprint']}`."
    )


def _citation(record: Json) -> str:
    version = record["versions"]["isogloss"]
    return (
        "```bibtex\n@misc{rethinking-alignment,\n"
        f"  title = {{{PAPER}}},\n  author = {{Anonymous}},\n"
        "  note = {Submission to ICLR 2026}\n}\n"
        "@software{isogloss,\n  title = {Isogloss},\n  author = {The Isogloss developers},\n"
        f"  version = {{{version}}}\n}}\n```"
    )


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " and ".join(str(one) for one in value)
    return str(value) if value != "" else "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
