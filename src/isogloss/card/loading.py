"""The code of a card that loads what was learnt with plain PEFT or transformers."""

from __future__ import annotations

from pathlib import Path
from string import Formatter

from isogloss.card.facts import CardSettings, Facts


def loading(facts: Facts, settings: CardSettings) -> str:
    """Code that runs as it stands where the base model and this folder are."""
    base = facts.base(settings) or Path(facts.record["source"]["model"]).name
    place = settings.place or "."
    setting = f'adapter = "{place}"' + ("" if settings.place else "  # the folder of this card")
    lines = ["import torch", *([] if facts.whole else ["from peft import PeftModel"])]
    lines += ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if facts.whole:
        lines += [setting, "tokenizer = AutoTokenizer.from_pretrained(adapter)"]
        lines += ["model = AutoModelForCausalLM.from_pretrained(adapter)"]
    else:
        lines += [f'base = "{base}"', setting, "tokenizer = AutoTokenizer.from_pretrained(base)"]
        lines += ["model = AutoModelForCausalLM.from_pretrained(base)"]
        lines += ["model = PeftModel.from_pretrained(model, adapter)"]
    code = "\n".join([*lines, "", *_prompt_lines(facts), "", *_generate_lines(facts)])
    return "\n\n".join([f"```python\n{code}\n```", _how_it_is_asked(facts)])


def _generate_lines(facts: Facts) -> list[str]:
    """The lines that write an answer; a prompt of demonstrations has the begin token already."""
    begun = ", add_special_tokens=False" if _in_prompt(facts) else ""
    tune = facts.record["method"]["tune"]["name"]
    # With a cache PEFT's prompt tuning writes other tokens after the first (docs/traps.md).
    cache = ", use_cache=False" if tune in ("soft-prompt", "context-prompt") else ""
    write = [f"    written = model.generate(**ids, max_new_tokens=16, do_sample=False{cache})"]
    if tune in ("prefix", "compiled"):
        write = _PREFIX_LINES
    return [
        f'ids = tokenizer(prompt, return_tensors="pt"{begun})',
        "with torch.no_grad():",
        *write,
        "print(tokenizer.decode(written[0][ids.input_ids.shape[1] :], skip_special_tokens=True))",
    ]


_PREFIX_LINES = [  # PEFT's own `generate` leaves a prefix out (docs/traps.md)
    "    kept = model.get_prompt(batch_size=1)  # the prefix: keys and values",
    "    places = torch.zeros((1, kept.get_seq_length()), dtype=torch.long)",
    "    whole = torch.cat([places, ids.input_ids], dim=1)  # ids where it stands are not read",
    "    written = model.get_base_model().generate(",
    "        whole,",
    "        attention_mask=torch.ones_like(whole),",
    "        past_key_values=kept,",
    "        max_new_tokens=16,",
    "        do_sample=False,",
    "    )[:, places.shape[1] :]",
]


def _in_prompt(facts: Facts) -> int:
    """How many demonstrations are in the prompt itself: in CPT, or where a run is compiled."""
    tune = facts.record["method"]["tune"]
    inside = tune["name"] in ("context-prompt", "compiled")
    return int(tune["demonstrations"]) if inside else 0


def _prompt_lines(facts: Facts) -> list[str]:
    """The lines that make a prompt in the form of the training's."""
    wording = facts.task.wording(facts.record["target"])
    count = facts.record["method"]["context"]["count"]
    question, answer = _blank(wording.input), _blank(wording.answer)
    if facts.record["chat"]:
        return [
            f"question = {question!r}",
            f"solved = [(question, {answer.strip()!r})] * {count}  # put solved items here",
            "turns = []",
            "for asked, answered in solved:",
            '    turns.append({"role": "user", "content": asked})',
            '    turns.append({"role": "assistant", "content": answered})',
            'turns.append({"role": "user", "content": question})',
            "prompt = tokenizer.apply_chat_template(",
            "    turns, tokenize=False, add_generation_prompt=True",
            ")",
        ]
    return [
        f"question = {question!r}",
        f"solved = [question + {answer!r}] * {count}  # put solved items here",
        'prompt = "\\n\\n".join([*solved, question])',
    ]


def _blank(template: str) -> str:
    """A template with each field's name in angle brackets in its place."""
    return "".join(
        text + (f"<{field}>" if field is not None else "")
        for text, field, _, _ in Formatter().parse(template)
    )


def _how_it_is_asked(facts: Facts) -> str:
    context = facts.record["method"]["context"]
    if context["count"]:
        whose = {
            "mixed": "of both languages",
            "dominant": f"in `{facts.record['dominant']}`",
            "target": f"in `{facts.record['target']}`",
        }.get(context["languages"], "")
        words = f"In training {context['count']} solved items {whose} stood before each question."
    elif solved := _in_prompt(facts):
        words = f"The prompt that was learnt is {solved} solved items; a question follows it alone."
        if facts.record["method"]["tune"]["name"] == "compiled":
            words = f"The prefix has {solved} solved items in it; a question follows it alone."
    else:
        words = "In training each question stood alone."
    return (
        f"{words} Put your own item in the place of the names in angle brackets. Scores come from "
        "`isogloss evaluate`, which compares the options' log-probabilities (spans are generated); "
        "`isogloss predict` answers new items in that way."
    )
