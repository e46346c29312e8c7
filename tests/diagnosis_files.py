"""A diagnosis.json as `isogloss diagnose` writes it, with numbers that a test wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LAYERS = 4


def interval(value: float, reach: float = 0.02) -> dict[str, Any]:
    return {"value": value, "low": value - reach, "high": value + reach, "items": 50}


def measured(shift: float = 0.0, layers: int = LAYERS) -> dict[str, Any]:
    """One state of a model; `shift` lowers its deviation."""
    rows = []
    for layer in range(1, layers + 1):
        height = layer / layers
        rows.append(
            {
                "layer": layer,
                "deviation": interval(0.3 - 0.2 * height - shift),
                "centred": interval(0.4 - 0.3 * height - shift),
                "retrieval": interval(0.2 + 0.6 * height, 0.1),
            }
        )
    whole = {"where": "text.tsv", "pairs": 50, "matched": 50, "tokens": [9.0, 11.0], "note": ""}
    means = {name: interval(0.2 - shift) for name in ("deviation", "centred", "unmatched")}
    closeness = whole | means | {"layers": rows}
    return {"closeness": closeness, "direction": None, "attention": None, "shifted": False}


def finding(question: str, answer: str, *sentences: str) -> dict[str, Any]:
    return {"question": question, "answer": answer, "sentences": list(sentences)}


def write_diagnosis(folder: Path, *, run: bool = False, **changes: Any) -> Path:
    """A diagnosis of a model, or (`run`) of a run before and after training."""
    layers = changes.pop("layer_count", LAYERS)
    content = {
        "model": "tiny",
        "task": "parity" if run else None,
        "source": "en",
        "target": "tr",
        "method": "mtl" if run else None,
        "now": measured(layers=layers),
        "after": measured(0.05, layers) if run else None,
        "seed": 42,
        "seconds": 1.0,
        "findings": [
            finding("Are the two languages close?", "far", "Deviation 0.200.", "Second sentence."),
            finding("Which method to try?", "cl-icp", "Scores were measured."),
        ],
        "findings_after": [],
    }
    if run:
        close = finding("Are the two languages close?", "near", "Deviation 0.150.")
        content["findings_after"] = [close]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "diagnosis.json").write_text(json.dumps(content | changes))
    return folder
