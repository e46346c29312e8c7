"""`isogloss compile`."""

from __future__ import annotations

from isogloss.cli.output import print_json, print_table, say
from isogloss.compiling.compiling import compile_run
from isogloss.runs import Json
from isogloss.settings import CompileSettings


def run(settings: CompileSettings) -> None:
    """Compile a run, and say what it costs and how it is used."""
    compiled = compile_run(settings)
    if settings.json:
        print_json(compiled.content | {"folder": str(compiled.folder)})
        return
    _tell(compiled.content, str(compiled.folder))


def _tell(content: Json, folder: str) -> None:
    _tell_choice(content)
    measured = content["measured"]
    columns = ("name", "value", "low", "high", "items", "seconds", "front_tokens")
    title = f"{content['task']}, {measured['language']}: {measured['metric']} (95% interval)"
    print_table(title, measured["systems"], columns)
    say("seconds: median for one item; front tokens: computed before each item's own")
    if measured["skipped"]:
        say(f"skipped as too long: {measured['skipped']}")
    say(f"compiled and uncompiled agree on {100 * measured['agreement']:.1f}% of the items")
    size = sum(content["bytes"].values()) / 2**20
    say(f"prefix: {content['positions']} positions, {content['solved']} demonstrations in it")
    say(f"written: {folder} ({size:.1f} MiB)")
    if content["note"]:
        say(f"note: {content['note']}")
    if content["peft"]:
        say(f'in PEFT: PeftModel.from_pretrained(base, "{folder}")')
    else:
        say(f"not for PEFT: {content['peft_why_not']}; Isogloss reads prefix.safetensors")
    say(f"next: isogloss evaluate {folder}")


def _tell_choice(content: Json) -> None:
    """What each candidate came to, and which demonstrations stand in the prefix."""
    if len(content["candidates"]) > 1:
        rows = [
            {"candidate": place, **row, "demonstrations": ", ".join(row["demonstrations"])}
            | {"chosen": place == content["chosen"] or None}
            for place, row in enumerate(content["candidates"])
        ]
        columns = ("candidate", "demonstrations", "value", "loss", "items", "chosen")
        print_table("demonstration sets", rows, columns)
        say(f"judged by {content['chosen_by']}")
    names = [f"{one['language']}/{one['id']}" for one in content["demonstrations"]]
    say(f"demonstrations: {', '.join(names) or 'none'} ({content['demonstrations_how']})")
