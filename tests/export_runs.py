"""Finished runs to export, and a process that knows nothing of Isogloss to read them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import isogloss
from conftest import byte_level_tokenizer, sentencepiece_tokenizer, tiny_config
from isogloss.runs import Run
from number_task import write_numbers

BASES = {  # tokenizer, and rows of the table beyond the tokenizer's
    "llama": (byte_level_tokenizer, 0),
    "qwen2": (byte_level_tokenizer, 3),  # spare rows for some of the added tokens
    "qwen3": (byte_level_tokenizer, 64),  # and for all of them
    "gemma3": (sentencepiece_tokenizer, 0),  # a begin token, space marks, a scaled embedding
}


def write_base(folder: Path, architecture: str) -> Path:
    """A tiny base model whose tied or own head, vocabulary and tokenizer are as real ones have."""
    make, spare = BASES[architecture]
    tokenizer = make()
    config = tiny_config(architecture, len(tokenizer) + spare)
    config.initializer_range = 0.2
    config.bos_token_id = tokenizer.bos_token_id
    theta = 777.0
    rope = config.rope_parameters
    rope.get("full_attention", rope)["rope_theta"] = theta
    torch.manual_seed(7)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(folder: Path, base: Path, method: str = "cl-icp", **given: object) -> Run:
    """A short run on a small task, whose prompt has moved far from its start."""
    task = folder / "task" / "task.yaml"
    if not task.exists():
        write_numbers(folder / "task")
    options = {"epochs": 1, "max_steps": 4, "learning_rate": 0.1, "out": folder / "runs"} | given
    return isogloss.train(task, model=base, target="tr", method=method, **options)


READER = """
import json, sys, torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
out = {}
for number, (folder, texts, ids, written) in enumerate(json.load(sys.stdin)):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    for place, text in enumerate(texts):
        out[f"{number}.text.{place}"] = torch.tensor(tokenizer(text)["input_ids"])
    for place, row in enumerate(ids):
        row = torch.tensor([row])
        with torch.no_grad():
            out[f"{number}.logits.{place}"] = model(row).logits[0].contiguous()
            made = model.generate(row, max_new_tokens=written, do_sample=False)
        out[f"{number}.written.{place}"] = made[0, row.shape[1] :].contiguous()
assert not any(name.split(".")[0] in ("isogloss", "peft") for name in sys.modules)
save_file(out, sys.argv[1])
"""


def read_elsewhere(
    out: Path, work: Sequence[tuple[Path, Sequence[str], Sequence[Sequence[int]], int]]
) -> Mapping[str, torch.Tensor]:
    """What plain transformers make of folders in a process of its own."""
    asked = [[str(folder), list(texts), list(ids), n] for folder, texts, ids, n in work]
    done = subprocess.run(
        [sys.executable, "-c", READER, str(out)],
        input=json.dumps(asked),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return load_file(out)
