"""`isogloss compile`: a finished run's prompt and demonstrations to one prefix, as a run folder.

The paper's conclusion names as its method's limitation that demonstrations lengthen the input.
Their keys and values do not depend on the item behind them, so they are computed once and kept.
"""

from __future__ import annotations

import dataclasses
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError

from isogloss.answering import Answering
from isogloss.compiling.checking import Kept, save_prefix
from isogloss.compiling.choosing import Choice, choose, sample_of
from isogloss.compiling.ground import Ground, check_compilable, ground_of
from isogloss.compiling.measuring import measure
from isogloss.compiling.prefixing import Prefix, make_prefix
from isogloss.compiling.sources import candidate_sets
from isogloss.errors import RunError
from isogloss.finished import Opened, open_finished
from isogloss.runs import (
    CLAIM,
    COMPILED,
    RECORD,
    Json,
    Run,
    claimed,
    clear_folder,
    file_digest,
    json_text,
    key_of,
    read_json_file,
    write_json_file,
    write_together,
)
from isogloss.settings import CompileSettings
from isogloss.tasks.example import Example
from isogloss.tasks.splits import read_test

FILES = ("adapter_config.json", "adapter_model.safetensors", "prefix.safetensors")
PACKAGES = ("isogloss", "torch", "transformers", "peft")


@final
@dataclass(frozen=True)
class CompiledRun:
    """A compiled run: its folder is a run folder, and `content` that of its compiled.json."""

    folder: Path
    content: Json

    @property
    def run(self) -> Run:
        """The folder as a run, for `evaluate` and `predict`."""
        return Run(self.folder)

    @property
    def systems(self) -> list[Json]:
        """Score and seconds for an item: compiled, uncompiled, zero-shot."""
        return list(self.content["measured"]["systems"])

    def to_frame(self) -> Any:
        """The systems as a pandas frame; pandas must be installed."""
        import pandas

        return pandas.DataFrame(self.systems)


def compile_run(settings: CompileSettings) -> CompiledRun:
    """Compile a finished run into the folder `out`.

    Raises:
        IsoglossError: anything about the run, the demonstrations, the model or the folder that
            stops the work.
    """
    opened = open_finished(
        settings.run, model=settings.model, data=settings.data, dtype=settings.dtype
    )
    check_compilable(opened)
    _check_folder(settings, opened)
    seed = opened.record["seed"] if settings.seed is None else settings.seed
    candidates = candidate_sets(opened, settings, seed)
    how = Answering(max_new_tokens=settings.max_new_tokens, calibration=opened.method.calibration)
    try:
        with claimed(settings.out):
            _check_folder(settings, opened)  # another process may have filled it meanwhile
            _begin(settings)
            ground = ground_of(opened, settings.device, settings.out)
            choice = choose(ground, candidates, how, items=settings.items, seed=seed)
            return _carry_out(settings, ground, choice, how, seed)
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise RunError(f"cannot write to {settings.out}: {reason}") from error


def _check_folder(settings: CompileSettings, opened: Opened) -> None:
    """Refuse a folder that is not ours to fill."""
    out = settings.out
    if not out.exists():
        return
    if not out.is_dir():
        raise RunError(f"{out} is a file; give --out a folder for the compiled run")
    if out.resolve() == opened.run.folder.resolve():
        raise RunError(f"{out} is the run itself; give --out another folder")
    if not {path.name for path in out.iterdir()} - {CLAIM}:
        return
    if not (out / COMPILED).is_file():
        raise RunError(f"{out} holds other files; give --out a new or empty folder")
    if read_json_file(out / COMPILED).get("finished") and not settings.force:
        raise RunError(
            f"{out} holds a compiled run already; give another --out, or --force to write it anew"
        )


def _begin(settings: CompileSettings) -> None:
    """Mark the folder as a compiled run's that is not finished, and clear it of an earlier one."""
    write_json_file(settings.out / COMPILED, {"finished": False, "run": settings.run})
    clear_folder(settings.out, keep=COMPILED)


def _carry_out(
    settings: CompileSettings, ground: Ground, choice: Choice, how: Answering, seed: int
) -> CompiledRun:
    begun = time.time()
    opened = ground.opened
    prefix = make_prefix(ground, choice.candidate.demonstrations)
    asked = read_test(opened.task, opened.record["target"], seed=opened.record["seed"]).examples
    items = sample_of(asked, settings.items, seed=opened.record["seed"])
    kept = save_prefix(ground, prefix, items[0], settings.out)
    measured = measure(ground, prefix, items, how)
    files = {name: settings.out / name for name in FILES if (settings.out / name).is_file()}
    adapter = {name: file_digest(path) for name, path in files.items()}
    content = {
        "finished": True,
        **_origin(settings, ground),
        "seed": seed,
        **_demonstrations(settings, ground, choice),
        **_form(prefix, kept, files),
        "note": ground.note,
        "measured": measured,
        "adapter": adapter,
        "versions": {"python": platform.python_version()}
        | {package: metadata.version(package) for package in PACKAGES},
        "seconds": round(time.time() - begun, 1),
    }
    record = _record(settings, ground, prefix, content)
    texts = {COMPILED: json_text(content), RECORD: json_text(record)}
    write_together({settings.out / name: text for name, text in texts.items()})
    return CompiledRun(settings.out, content)


def _origin(settings: CompileSettings, ground: Ground) -> Json:
    """The run that was compiled, and the model that the prefix belongs to."""
    record = ground.opened.record
    return {
        "run": str(settings.run),
        "run_key": record["key"],
        "method": record["method"]["name"],
        "task": record["task"]["name"],
        "target": record["target"],
        "model": ground.opened.model_name,
        "model_fingerprint": ground.loaded.fingerprint,
        "dtype": ground.opened.dtype,
    }


def _demonstrations(settings: CompileSettings, ground: Ground, choice: Choice) -> Json:
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


def _form(prefix: Prefix, kept: Kept, files: dict[str, Path]) -> Json:
    """How the prefix is saved, and how near its logits are to those of the run."""
    return {
        "positions": prefix.tune.length,
        "solved": prefix.tune.demonstrations,
        "peft": kept.why is None,
        "peft_why_not": kept.why,
        "peft_difference": kept.peft,
        "own_difference": kept.own,
        "bytes": {name: path.stat().st_size for name, path in files.items()},
    }


def _record(settings: CompileSettings, ground: Ground, prefix: Prefix, content: Json) -> Json:
    """The compiled run's run.json: the run's own, with the prefix as what is tuned."""
    old, opened = ground.opened.record, ground.opened
    made = {name: content[name] for name in ("run_key", "demonstrations_digest", "positions")}
    return old | {
        "key": key_of(made | {"model": content["model_fingerprint"], "dtype": opened.dtype}),
        "method": dataclasses.asdict(prefix.method),
        "model": old["model"] | {"fingerprint": ground.loaded.fingerprint, "dtype": opened.dtype},
        "source": old["source"]
        | {"model": opened.model_name, "data": settings.data or old["source"]["data"]},
        "compiled_from": {"run": opened.run.name, "key": old["key"]},
        "adapter": content["adapter"],
        "finished": True,
        "seconds": content["seconds"],
    }
