"""Export of a finished run: a plain folder that transformers, vLLM and llama.cpp's converter read.

Beside model and tokenizer stand export.json (what to send, and what was checked) and README.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from isogloss.exporting.checking import check_logits, trials
from isogloss.exporting.describing import described
from isogloss.exporting.kinds import Kind, kind_of
from isogloss.exporting.merging import with_merged
from isogloss.exporting.readme import readme
from isogloss.exporting.saving import check_free, save_model, written_whole
from isogloss.exporting.tokens import Reader, save_tokenizer
from isogloss.exporting.vocabulary import with_rows
from isogloss.exporting.work import Change, Work
from isogloss.finished import Opened, open_finished
from isogloss.runs import Json, json_text, write_together
from isogloss.settings import ExportSettings

DESCRIPTION, README = "export.json", "README.md"
MAKERS: Mapping[Kind, Callable[[Work], AbstractContextManager[Change]]] = {
    "vocabulary-rows": with_rows,
    "merged": with_merged,
}


@dataclass(frozen=True)
class Exported:
    """A written export: its folder, the content of its export.json, and what to look out for."""

    folder: Path
    content: Json

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before serving it."""
        return tuple(self.content["notes"])


def export(settings: ExportSettings) -> Exported:
    """Write a finished run as a plain model folder.

    Raises:
        IsoglossError: the run, its model or data are not what they were, the method cannot be
            exported so, the place is taken, or the result does not compute what the run computes.
    """
    opened = open_finished(
        settings.run, model=settings.model, data=settings.data, dtype=settings.dtype
    )
    kind = kind_of(opened.method, vocabulary_rows=settings.vocabulary_rows)
    check_free(settings.out)
    loaded = _unquantised(opened).load(settings.device)
    found = trials(opened, opened.episodes(loaded, tuned=True))
    work = Work(settings, opened, loaded, found)
    with MAKERS[kind](work) as change:
        check_logits(change.checked, loaded.model.dtype)
        with written_whole(settings.out) as folder:
            content = _write(work, change, kind, folder)
    return Exported(settings.out, content)


def _unquantised(opened: Opened) -> Opened:
    """The run with its base model in a plain number format, which a folder can hold."""
    plain = opened.record["model"] | {"quantization": "none"}
    return dataclasses.replace(opened, record=opened.record | {"model": plain})


def _write(work: Work, change: Change, kind: Kind, folder: Path) -> Json:
    save_model(change.model, folder)
    keep_begin = work.settings.keep_begin
    if change.own_tokenizer:
        save_tokenizer(work.loaded.tokenizer, folder, keep_begin=keep_begin)
    else:
        work.loaded.tokenizer.save_pretrained(folder)
    content = described(work, change, kind, folder, Reader.of(folder, special=not keep_begin))
    texts = {DESCRIPTION: json_text(content), README: readme(content)}
    write_together({folder / name: text for name, text in texts.items()})
    return content
