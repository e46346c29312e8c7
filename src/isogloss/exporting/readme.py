"""README.md of an export: what it is, how to serve it, what was checked."""

from __future__ import annotations

from isogloss.exporting.sending import has_rows, llama_cpp, sending, vllm
from isogloss.languages import LANGUAGES
from isogloss.runs import Json

SHOWN = 3  # names of added tokens that are written out
TIED = (
    "The head is the embedding table itself, so the added tokens have logits like any other, and a "
    "server must be told not to write them; transformers is, by `suppress_tokens` in "
    "`generation_config.json`."
)
OWN = (
    "In the head each has the mean of the ordinary rows: its logit is the mean of theirs, never "
    "the greatest, and its probability at most one ordinary token's on average."
)


def readme(content: Json) -> str:
    """The text for people, all of it from export.json's content."""
    parts = [f"# {content['run']['name']}", _what(content)]
    if content["notes"]:
        parts.append("\n".join(f"- Note: {note}." for note in content["notes"]))
    parts += [
        _section("What to send", sending(content)),
        _section("vLLM", vllm(content)),
        _section("llama.cpp", llama_cpp(content)),
    ]
    if has_rows(content):
        parts.append(_section("Added tokens", _added(content)))
    parts += [
        _section("Checked", _checked(content)),
        _section("License", _license(content["base_model"])),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}"


def _what(content: Json) -> str:
    run, base = content["run"], content["base_model"]["name"]
    names = {language.code: language.name for language in LANGUAGES}
    target = names.get(run["target"], run["target"])
    how = (
        f"`{base}` with a soft prompt of {len(content['tokens'])} vectors as added tokens"
        if has_rows(content)
        else f"`{base}` with what was learnt in its weights"
    )
    return (
        f"{how}: method `{run['method']}`, task `{run['task']}` in {target}, trained with "
        f"Isogloss. Numbers are {content['dtype']}. `export.json` beside this file has all that is "
        "said here."
    )


def _added(content: Json) -> str:
    names, vocabulary = list(content["tokens"]), content["vocabulary"]
    shown = ", ".join(f"`{name}`" for name in names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
    check = content["check"]
    return (
        f"{len(names)} control tokens: {shown}. The embedding has {vocabulary['rows']} rows, the "
        f"base model's {vocabulary['base_rows']}. {TIED if content['head'] == 'tied' else OWN} At "
        f"the {check['positions']} positions looked at they had a probability of "
        f"{check['share']:.2g} together at most, and the greatest logit at {check['first']}. A "
        "text that spells their names spells them too, as it does with every control token."
    )


def _checked(content: Json) -> str:
    check = content["check"]
    parts = [
        f"On {check['computed']} test items the logits of the ordinary tokens differ from the "
        f"run's own by at most {check['difference']:.2g} (the greatest logit is "
        f"{check['greatest']:.3g}).",
        f"Of {check['prompts']} prompts {check['prompts_same_as_text']} become the run's own "
        f"tokens as one text, of their questions alone {check['questions_same']}.",
    ]
    if has_rows(content):
        parts.append(
            f"A written vector is at most {content['rounding']:.2g} of its length away from the "
            f"learnt one, which {content['dtype']} cannot hold exactly."
            if content["rounding"]
            else "The vectors are written as they were learnt."
        )
    return " ".join(parts)


def _license(base: Json) -> str:
    known = [f"its package states {base['license']}"] if base["license"] else []
    if base["license_files"]:
        files = ", ".join(f"`{name}`" for name in base["license_files"])
        known.append(f"its files are here as {files}")
    found = "; ".join(known) or "nothing about it was found beside the base model"
    return (
        f"This folder holds all of `{base['name']}`, so the base model's license covers it: "
        f"{found}. What was learnt carries whatever the training data carries."
    )
