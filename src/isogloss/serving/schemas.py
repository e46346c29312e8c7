"""The body of a completion request, OpenAI's; what is not served is refused, not passed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from isogloss.errors import Problem
from isogloss.tasks.own_yaml import is_sound
from isogloss.tasks.sources import described

STOPS = 4  # stop texts at most, as with OpenAI
TOKENS = 16  # max_tokens where it is left out, as with OpenAI


def only(*served: object, why: str = "") -> AfterValidator:
    """Refuse every value but those that are served."""

    def check(value: Any) -> Any:
        if value is not None and value not in served:
            what = [f"{one}{why}" for one in served]
            raise ValueError(", or ".join([*what, "to be left out"]))
        return value

    return AfterValidator(check)


def _texts(value: Any, what: str) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, tuple | list) or not all(isinstance(one, str) for one in texts):
        raise ValueError(what)
    if not all(map(is_sound, texts)):
        raise ValueError("text of whole Unicode characters")
    return tuple(texts)


def _prompts(value: Any) -> tuple[str, ...]:
    what = "a text or a list of one or more texts"
    texts = _texts(value, what)
    if not texts:
        raise ValueError(what)
    return texts


def _stops(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = _texts(value, "a text or a list of texts")
    if len(texts) > STOPS or not all(texts):
        raise ValueError(f"at most {STOPS} texts, none of them empty")
    return texts


Prompts = Annotated[
    tuple[str, ...],
    BeforeValidator(_prompts, json_schema_input_type=str | list[str]),
]
Stops = Annotated[
    tuple[str, ...], BeforeValidator(_stops, json_schema_input_type=str | list[str] | None)
]


@final
class CompletionBody(BaseModel):
    """A request to /v1/completions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: str
    prompt: Prompts
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float | None, only(0, why=" (the most probable token)")] = None
    stop: Stops = ()
    n: Annotated[int | None, only(1)] = None
    best_of: Annotated[int | None, only(1)] = None
    top_p: Annotated[float | None, only(1)] = None
    stream: Annotated[bool | None, only(False)] = None
    echo: Annotated[bool | None, only(False)] = None
    logprobs: Annotated[Any, only()] = None
    suffix: Annotated[Any, only()] = None
    logit_bias: Annotated[Any, only()] = None
    stream_options: Annotated[Any, only()] = None
    presence_penalty: Annotated[float | None, only(0)] = None
    frequency_penalty: Annotated[float | None, only(0)] = None
    seed: int | None = None  # nothing is drawn
    user: str | None = None


def problems_of(errors: Sequence[Any]) -> list[Problem]:
    """What pydantic found, as our problems: field, found, expected."""
    return [_problem(error) for error in errors]


def _problem(error: dict[str, Any]) -> Problem:
    kind, place = error["type"], [str(part) for part in error["loc"] if part != "body"]
    name = ".".join(place) or None
    if kind == "json_invalid":
        where = error["loc"][-1]
        reason = error.get("ctx", {}).get("error", "")
        return Problem("body", f"broken JSON ({reason} at {where})", "one JSON value")
    if kind == "missing":
        return Problem("body", "nothing", "a value", field=name)
    if kind == "extra_forbidden":
        return Problem("body", described(error["input"]), "no such field", field=name)
    return Problem("body", described(error["input"]), _expected(error), field=name)


def _expected(error: dict[str, Any]) -> str:
    """Pydantic's words, without those around them."""
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return message[:1].lower() + message[1:]
