"""What is written down of a compiled run: compiled.json, and a run.json like its run's own."""

from __future__ import annotations

import dataclasses
import platform
from importlib import metadata
from pathlib import Path

from isogloss.compiling.checking import Kept
from isogloss.compiling.choosing import Choice
from isogloss.compiling.ground import Ground
from isogloss.compiling.prefixing import Prefix
from isogloss.runs import Json, file_digest, key_of
from isogloss.settings import CompileSettings
from isogloss.tasks.example import Example

FILES = ("adapter_config.json", "adapter_model.safetensors", "prefix.safetensors")
PACKAGES = ("isogloss", "torch", "transformers", "peft")


def origin(settings: CompileSettings, ground: Ground, seed: int) -> Json:
    """The run that was compiled, and the model that the prefix belongs to."""
    record = ground.opened.record
    versions = {package: metadata.version(package) for package in PACKAGES}
    return {
        "run": str(settings.run),
        "run_key": record["key"],
        "method": record["method"]["name"],
        "task": record["task"]["name"],
        "target": record["target"],
        "model": ground.opened.model_name,
        "model_fingerprint": ground.loaded.fingerprint,
        "dtype": ground.opened.dtype,
        "note": ground.note,
        "seed": seed,
        "versions": {"python": platform.python_version()} | versions,
    }


def demonstrations(settings: CompileSettings, ground: Ground, choice: Choice) -> Json:
    """The set, its digest, and what it was chosen from."""
    texts = [_entry(ground, item) for item in choice.candidate.demonstrations]
    return {
        "demonstrations": texts,
        "demonstrations_from": settings.demonstrations,
        "demonstrations_how": choice.candidate.how,
        "demonstrations_digest": key_of({"demonstrations": texts}),
        "chosen": choice.chosen,
        "chosen_by": choice.by,
        "candidates": list(choice.rows),
    }


def _entry(ground: Ground, item: Example) -> Json:
    rendered = ground.opened.task.render(item)
    return {
        "id": item.id,
        "language": item.language,
        "input": rendered.input,
        "answer": rendered.answer,
    }


def form(prefix: Prefix, kept: Kept, folder: Path) -> Json:
    """How the prefix is saved, and how near its logits are to those of the run."""
    files = [folder / name for name in FILES if (folder / name).is_file()]
    return {
        "positions": prefix.tune.length,
        "solved": prefix.tune.demonstrations,
        "peft": kept.why is None,
        "peft_why_not": kept.why,
        "peft_difference": kept.peft,
        "own_difference": kept.own,
        "bytes": {path.name: path.stat().st_size for path in files},
        "adapter": {path.name: file_digest(path) for path in files},
    }


def record(settings: CompileSettings, ground: Ground, prefix: Prefix, content: Json) -> Json:
    """The compiled run's run.json: the run's own, with the prefix as what is tuned."""
    old, opened = ground.opened.record, ground.opened
    made = {name: content[name] for name in ("run_key", "demonstrations_digest", "positions")}
    return old | {
        "key": key_of(made | {"model": content["model_fingerprint"], "dtype": opened.dtype}),
        "method": dataclasses.asdict(prefix.method),
        "model": old["model"] | {"fingerprint": ground.loaded.fingerprint, "dtype": opened.dtype},
        "source": old["source"]
        | {
            "model": _whole(opened.model_name),
            "data": _whole(settings.data) if settings.data else old["source"]["data"],
        },
        "compiled_from": {"run": opened.run.name, "key": old["key"]},
        "adapter": content["adapter"],
        "finished": True,
        "seconds": content["seconds"],
    }


def _whole(place: str) -> str:
    """A path from the root, where it is one: the record may be read from another folder."""
    return str(Path(place).resolve()) if Path(place).exists() else place
