"""Run folders with the answers that a test wants, written without training anything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METHOD = {
    "section": "6.1",
    "summary": "",
    "stages": [{"targets": ["target"], "epochs": 2, "learning_rate": 0.001}],
    "tune": {"name": "full"},
    "context": {"count": 0, "languages": "mixed", "share": 4, "test_sets": 16},
    "loss": {"demonstrations": "off", "weight": 1.0},
    "batch_size": 4,
}


def write_run(
    root: Path,
    method: str = "mtl",
    *,
    seed: int = 42,
    right: Mapping[str, bool] | Sequence[bool] = (True, False, True, False),
    target: str = "tr",
    **changes: Any,
) -> Path:
    """A finished, evaluated run; `right` says by item whether its answer is.

    `changes`: task, metric, share, model, k, data, log, language (of the evaluation), finished,
    fingerprint, chosen, extra (metrics beside accuracy: item values by name).
    """
    get = changes.get
    if not isinstance(right, Mapping):
        right = {f"i{number}": value for number, value in enumerate(right)}
    task, share, model = get("task", "parity"), get("share", 1.0), get("model", "tiny")
    k = get("k", 3 if method == "cl-icp" else 0)
    language = get("language", target)
    parts = [task, target, language, method, model, seed, f"{share:g}", f"k{k}", get("name", "")]
    folder = root / "-".join(map(str, parts)).replace("/", "_")
    folder.mkdir(parents=True)
    record = {
        "key": "0" * 64,
        "task": {"name": task, "kind": "label", "metric": "accuracy", "settings": {}},
        "dominant": "en",
        "target": target,
        "seed": seed,
        "share": share,
        "limit": None,
        "max_steps": None,
        "method": {**METHOD, "name": method, "context": {**METHOD["context"], "count": k}},
        "gradient_accumulation": 1,
        "patience": 3,
        "chat": False,
        "max_length": None,
        "too_long": "error",
        "model": {
            "fingerprint": get("fingerprint", model),
            "dtype": "float32",
            "attention": "sdpa",
            "quantization": "none",
            "remote_code": False,
        },
        "data": get("data", {f"{target}/test.jsonl": "d" * 64}),
        "source": {"task": str(root / "nowhere"), "data": None, "model": model},
        "finished": get("finished", True),
        "notes": {},
        "device": "cpu",
        "versions": {"python": "3.11", "torch": "2.13"},
        "adapter": {},
        "seconds": 1.5,
    }
    record |= {"chosen": get("chosen")} if get("chosen") else {}
    (folder / "run.json").write_text(json.dumps(record))
    _lines(folder / "log.jsonl", [{"stage": 0, "step": s, "loss": 3.0 / s} for s in range(1, 6)])
    extra: Mapping[str, Mapping[str, float]] = get("extra", {})
    entries = [
        {
            "id": name,
            "language": language,
            "prediction": "yes" if value else "no",
            "text": "yes",
            "answer": "yes",
            "correct": value,
            **{metric: values[name] for metric, values in extra.items()},
        }
        for name, value in right.items()
    ]
    if get("scored", True):
        _lines(folder / "predictions.jsonl", entries)
        scores = {
            "task": task,
            "language": language,
            "metric": get("metric", "accuracy"),
            "metrics": {name: {} for name in ("accuracy", *extra)},
            "items": len(entries),
            "setting": {"language": language, "demonstrations": "from-run", "limit": None},
        }
        (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def write_grid(root: Path, cells: Sequence[tuple[dict[str, Any], dict[str, Any] | None]]) -> Path:
    """An experiment's folder: cells, and what each came to (None: not run)."""
    (root / "cells").mkdir(parents=True)
    planned = []
    for number, (cell, state) in enumerate(cells):
        whole = {"key": f"c{number}", "model": "org/tiny", "task": "parity", "language": "tr"}
        whole |= {"seed": 42, "share": 1.0, **cell}
        planned.append(whole)
        if state is not None:
            path = root / "cells" / f"c{number}.json"
            path.write_text(json.dumps(whole | {"evaluation": None} | state))
    content = {"experiment": "table2", "title": "Table 2", "scale": "small", "cells": planned}
    (root / "grid.json").write_text(json.dumps(content))
    return root


def first_of(right: int, items: int = 60) -> list[bool]:
    """Answers of which the first are right."""
    return [number < right for number in range(items)]


def _lines(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
