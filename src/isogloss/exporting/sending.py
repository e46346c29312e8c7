"""The parts of an export's README.md on what to send, and to which server."""

from __future__ import annotations

import json
from typing import Any

from isogloss.runs import Json


def sending(content: Json) -> str:
    """What a prompt is made of, and the code that makes it."""
    prompt, check = content["prompt"], content["check"]
    exact = check["prompts_same_as_text"] == check["prompts"]
    parts = [*_order(content), _code(prompt["question"])]
    if not kept(prompt):
        parts.append(_quiet(has_rows(content)))
    else:
        parts.append(
            "The tokenizer puts its begin token in front of every text, where it must not be: ask "
            "for none (`add_special_tokens` false), or send ids."
        )
    parts.append(
        "`text` and `ids` are the same tokens, the run's own."
        if exact
        else "`ids` are the run's own tokens. `text` is not quite: the tokenizer splits or joins "
        "blank lines within a whole text otherwise than alone."
    )
    return "\n\n".join(parts)


def vllm(content: Json) -> str:
    """How vLLM serves the folder."""
    request: dict[str, Any] = {"model": "FOLDER", "prompt": "TEXT or [IDS]", "max_tokens": 16}
    request |= {"temperature": 0, "stop": ["\n"]}
    if kept(content["prompt"]):
        request["add_special_tokens"] = False
    parts = [
        "```console\n$ vllm serve FOLDER\n$ curl localhost:8000/v1/completions "
        f"-H 'Content-Type: application/json' -d '{json.dumps(request)}'\n```",
        *_suppressed(content, '"logit_bias": {"ID": -100, ...}'),
    ]
    if content.get("chat_template") == "begins with the prompt":
        parts.append("At `/v1/chat/completions` the chat template puts the added tokens in front.")
    return "\n\n".join(parts)


def llama_cpp(content: Json) -> str:
    """How llama.cpp serves the folder."""
    request = {"prompt": "TEXT or [IDS]", "n_predict": 16, "temperature": 0, "stop": ["\n"]}
    prompt = content["prompt"]
    option = " --override-kv tokenizer.ggml.add_bos_token=bool:false" if kept(prompt) else ""
    parts = [
        "```console\n$ python convert_hf_to_gguf.py FOLDER --outfile model.gguf\n"
        f"$ llama-server -m model.gguf{option}\n"
        f"$ curl localhost:8080/completion -d '{json.dumps(request)}'\n```",
        'A prompt may be ids and then text: `[FRONT_IDS..., "QUESTION"]`.',
        *_suppressed(content, '"logit_bias": [[ID, false], ...]'),
    ]
    if has_rows(content) and prompt["begin"] and not kept(prompt):
        parts.append(
            "The converter knows a tokenizer by what it makes of a text, begin token included. If "
            'it says "BPE pre-tokenizer was not recognized", export again with `--keep-begin`.'
        )
    return "\n\n".join(parts)


def has_rows(content: Json) -> bool:
    """Whether a soft prompt is among the vocabulary's rows."""
    return bool(content["kind"] == "vocabulary-rows")


def kept(prompt: Json) -> bool:
    """Whether the tokenizer puts a begin token in front by itself where it must not be."""
    return not prompt["add_special_tokens"]


def _order(content: Json) -> list[str]:
    prompt, parts = content["prompt"], []
    if has_rows(content):
        begin = f", then the begin token `{prompt['begin']}`" if prompt["begin"] else ""
        parts.append(
            f"Every prompt begins with the added tokens, in their order{begin}: `prompt.prefix` of "
            "`export.json`."
        )
    if prompt["demonstrations"]:
        parts.append(
            f"In training {len(prompt['demonstrations'])} solved items stood before each question. "
            "`prompt.front` is the prefix with such items (training data of the run); other items "
            "in the same form will do."
        )
    return [*parts, "The question follows, in the wording below."]


def _code(question: str) -> str:
    lines = [
        "import json",
        "",
        "from transformers import AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")  # the folder of this file',
        'prompt = json.load(open("export.json", encoding="utf-8"))["prompt"]',
        f"question = {question!r}  # with your item in its fields",
        'text = prompt["front"] + question',
        'alone = tokenizer(question, add_special_tokens=False)["input_ids"]',
        'ids = prompt["front_ids"] + alone',
    ]
    return "\n".join(["```python", *lines, "```"])


def _quiet(rows: bool) -> str:
    if rows:
        return "The tokenizer of this folder puts nothing in front of a text by itself."
    return "The tokenizer puts its begin token in front of a text by itself, if it has one."


def _suppressed(content: Json, words: str) -> list[str]:
    if not has_rows(content):
        return []
    return [f"So that no added token is written, add `{words}` with the ids in `never_generate`."]
