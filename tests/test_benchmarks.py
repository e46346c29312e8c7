"""The scripts of benchmarks/ run; what they measure is another matter."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import torch

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "alignment_speed.py"


def test_alignment_speed_ends_with_its_ratios(model_folder, monkeypatch, capsys):
    asked = ("--pairs", "20", "--items", "4", "--rounds", "2", "--threads", "1")
    monkeypatch.setattr("sys.argv", [str(SCRIPT), "--model", str(model_folder("gemma3")), *asked])
    threads = torch.get_num_threads()
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert torch.get_num_threads() == threads == 1, "what other tests have"
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    ratios = {name for name in found if "_vs_" in name and not name.endswith("_cpu")}
    assert ratios == {
        "deviation_vs_forward",
        "closeness_vs_forward",
        "gradients_vs_epoch",
        "probed_vs_epoch",
    }
    parts = ("forward", "deviation", "closeness", "epoch", "gradients", "probed")
    assert all(found[f"{part}_seconds"] > 0 for part in parts)
    rows = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    assert [row.removeprefix("| ") for row in rows if row != "| what"] == list(parts)
