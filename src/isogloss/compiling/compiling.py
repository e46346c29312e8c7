"""`isogloss compile`: a finished run's prompt and demonstrations to one prefix, as a run folder.

The paper's conclusion names as its method's limitation that demonstrations lengthen the input.
Their keys and values do not depend on the item behind them, so they are computed once and kept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError

from isogloss.answering import Answering
from isogloss.compiling.checking import save_prefix
from isogloss.compiling.choosing import Choice, choose
from isogloss.compiling.ground import Ground, check_compilable, ground_of
from isogloss.compiling.measuring import fitting, measure
from isogloss.compiling.prefixing import make_prefix
from isogloss.compiling.recording import demonstrations, form, origin, record
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
    json_text,
    read_json_file,
    write_json_file,
    write_together,
)
from isogloss.settings import CompileSettings
from isogloss.tasks.splits import read_test


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
    opened, out = ground.opened, settings.out
    prefix = make_prefix(ground, choice.candidate.demonstrations)
    seeded, target = opened.record["seed"], opened.record["target"]
    sample = read_test(opened.task, target, seed=seeded, limit=settings.items).examples
    items, skipped = fitting(ground, prefix, sample, how)
    kept = save_prefix(ground, prefix, items[0], out)
    measured = measure(ground, prefix, items, how) | {"skipped": skipped}
    content = {
        "finished": True,
        **origin(settings, ground, seed),
        **demonstrations(settings, ground, choice),
        **form(prefix, kept, out),
        "measured": measured,
        "seconds": round(time.time() - begun, 1),
    }
    texts = {COMPILED: content, RECORD: record(settings, ground, prefix, content)}
    write_together({out / name: json_text(one) for name, one in texts.items()})
    return CompiledRun(out, content)
