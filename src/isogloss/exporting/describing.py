"""What export.json says: the run, the prompt to send, and what was checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from isogloss.card.facts import hub_id
from isogloss.exporting.kinds import Kind
from isogloss.exporting.saving import copy_licenses, stated_license
from isogloss.exporting.tokens import Reader
from isogloss.exporting.work import Change, Work
from isogloss.runs import Json

MUCH = 0.01  # probability of all added tokens together that is worth a word
PACKAGES = ("isogloss", "torch", "transformers", "tokenizers")


def described(work: Work, change: Change, kind: Kind, folder: Path, reader: Reader) -> Json:
    """The content of export.json; copies the base model's license files into the folder."""
    content: Json = {
        "kind": kind,
        "run": _run(work),
        "base_model": _base(work, folder),
        "dtype": str(work.loaded.model.dtype).removeprefix("torch."),
        "prompt": _prompt(work, change, reader),
        **change.content,
        "check": {
            **dataclasses.asdict(change.checked),
            **_same_ids(work, change, reader),
            "prompts": len(work.trials.prompts),
            "computed": len(work.sequences),
        },
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }
    return content | {"notes": list(_notes(work, content))}


def _run(work: Work) -> Json:
    record = work.opened.record
    return {
        "name": work.opened.run.name,
        "key": record.get("key"),
        "task": record["task"]["name"],
        "kind": record["task"]["kind"],
        "dominant": record["dominant"],
        "target": record["target"],
        "method": work.opened.method.name,
        "seed": record["seed"],
        "chosen": record.get("chosen"),
        "chat": record["chat"],
        "calibration": work.opened.method.calibration,
    }


def _base(work: Work, folder: Path) -> Json:
    """The base model, without the folders of this machine."""
    source, model = work.opened.record["source"]["model"], work.loaded.model
    return {
        "name": hub_id(source) or Path(source).name,
        "fingerprint": work.opened.record["model"]["fingerprint"],
        "architecture": model.config.model_type,
        "license": stated_license(source),
        "license_files": copy_licenses(work.opened.model_name, folder),
    }


def _spelled(work: Work, change: Change, front: str) -> str:
    """A front as text, from its first token on that a tokenizer does not put there itself."""
    if change.own_tokenizer:
        return change.spelled + front
    return front.removeprefix(work.trials.begin)


def _prompt(work: Work, change: Change, reader: Reader) -> Json:
    trials, context = work.trials, work.opened.method.context
    front = _spelled(work, change, trials.prompts[0].front)
    return {
        "prefix": _spelled(work, change, trials.begin),
        "begin": trials.begin or None,
        "front": front,
        "front_ids": change.placed(trials.prompts[0].front_ids),
        "question": trials.question,
        "demonstrations": [f"{item.language}/{item.id}" for item in trials.demonstrations],
        "demonstrations_chosen": context.choose if context.count else None,
        "add_special_tokens": reader.special,
    }


def _same_ids(work: Work, change: Change, reader: Reader) -> dict[str, int]:
    """How many prompts become the run's ids as one text, and how many questions alone."""
    whole = alone = 0
    for prompt in work.trials.prompts:
        text = _spelled(work, change, prompt.front) + prompt.question
        whole += reader.ids(text) == change.placed(prompt.ids)
        alone += reader.ids(prompt.question, inside=True) == list(prompt.question_ids)
    return {"prompts_same_as_text": whole, "questions_same": alone}


def _notes(work: Work, content: Json) -> Iterator[str]:
    """What a user should know before serving the folder."""
    check, base = content["check"], content["base_model"]
    others = check["prompts"] - check["prompts_same_as_text"]
    if others:
        yield (
            f"{others} of {check['prompts']} prompts become other tokens as one text than they "
            "were in training; send ids, those of the front and then those of the question "
            f"({check['questions_same']} of {check['prompts']} are the same so)"
        )
    yield from _head_notes(content)
    yield from _run_notes(work, content)
    if not base["license"] and not base["license_files"]:
        yield (
            "no license was found beside the base model; look it up before you pass the folder on, "
            "as it holds all of the base model"
        )


def _head_notes(content: Json) -> Iterator[str]:
    """Of added tokens that a server might write, or that lower the others' probabilities."""
    check = content["check"]
    if check["first"]:
        yield (
            f"at {check['first']} of {check['positions']} positions an added token had the "
            "greatest logit; have the server suppress them, or give --untie"
        )
    elif check["share"] > MUCH:
        yield (
            f"the added tokens take up to {check['share']:.2g} of the probability at a position; "
            "log-probabilities are lower by that, so have the server suppress them, or give --untie"
        )


def _run_notes(work: Work, content: Json) -> Iterator[str]:
    """Of what the run does that a server does not."""
    record = work.opened.record
    if record["model"]["quantization"] != "none":
        yield "the run was trained on a quantised model; this is the plain one: scores may differ"
    if record["chat"] and content.get("chat_template") == "unchanged":
        yield "the chat template would begin anew; send the prompt as text, not as messages"
    if content["run"]["calibration"] != "none":
        yield "the run's scores are calibrated by inputs without content; a server's are not"
    if content["prompt"]["demonstrations_chosen"] not in (None, "random"):
        yield "the run's demonstrations are the nearest to each item; those here are one item's"
