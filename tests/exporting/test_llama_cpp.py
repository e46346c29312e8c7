"""An export in llama.cpp, where its Python binding is installed: pip install llama-cpp-python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import isogloss
from export_runs import train, write_base
from gguf_files import write_gguf
from isogloss.finished import open_finished
from isogloss.model.load import Loaded
from isogloss.runs import Json

llama_cpp = pytest.importorskip(
    "llama_cpp", reason="llama.cpp's binding is not installed: pip install llama-cpp-python"
)
QUESTION = "Text: the old man paid 3"


@pytest.fixture(scope="module", params=[False, True], ids=["tied", "untied"])
def served(request, tmp_path_factory) -> Iterator[tuple[Any, Json, Path]]:
    """An export as a GGUF file in llama.cpp, the content of its export.json, and the run."""
    folder = tmp_path_factory.mktemp("served")
    run = train(folder, write_base(folder / "base", "llama"), prompt_length=5, demonstrations=2)
    made = isogloss.export(run, out=folder / "out", vocabulary_rows=True, untie=request.param)
    model = AutoModelForCausalLM.from_pretrained(made.folder)
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    write_gguf(folder / "out.gguf", Loaded("out", model, tokenizer, ""))
    f32 = llama_cpp.GGML_TYPE_F32  # keys and values are kept in 16 bits by default
    server = llama_cpp.Llama(
        str(folder / "out.gguf"), n_ctx=256, logits_all=True, verbose=False, type_k=f32, type_v=f32
    )
    yield server, made.content, run.folder
    server.close()


def test_the_prefix_is_read_as_its_tokens(served):
    server, content, _ = served
    prefix = content["prompt"]["prefix"].encode()
    ids = list(content["tokens"].values())
    assert server.tokenize(prefix, add_bos=True, special=True) == ids
    text = server.tokenize(prefix + QUESTION.encode(), add_bos=True, special=True)
    alone = server.tokenize(QUESTION.encode(), add_bos=False, special=False)
    assert text == ids + alone


def test_logits_and_greedy_text_are_the_runs_own(served):
    server, content, run = served
    opened = open_finished(str(run), model=None, data=None, dtype=None)
    loaded = opened.load("cpu")
    question = loaded.tokenizer(QUESTION)["input_ids"]
    with torch.no_grad(), opened.tuned(loaded):
        own = [*range(420, 425), *question]
        wanted = loaded.model(torch.tensor([own])).logits[0]
        written = []
        for _ in range(8):
            best = loaded.model(torch.tensor([own + written])).logits[0, -1, :420].argmax()
            written.append(int(best))
    ids = [*content["tokens"].values(), *question]
    server.reset()
    server.eval(ids)
    found = torch.from_numpy(numpy.array(server.scores[: len(ids)]))[:, :420]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    forbidden = llama_cpp.LogitsProcessorList([lambda _, scores: without(scores, content)])
    made = server.generate(ids, temp=0.0, top_k=1, logits_processor=forbidden)
    assert [token for token, _ in zip(made, range(8), strict=False)] == written


def without(scores: numpy.ndarray, content: Json) -> numpy.ndarray:
    """Logits with those of the added tokens out of reach, as `logit_bias` does in the server."""
    scores[content["never_generate"]] = -numpy.inf
    return scores
