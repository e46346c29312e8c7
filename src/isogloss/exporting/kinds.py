"""Which kinds of export a run's method allows."""

from __future__ import annotations

from typing import Literal

from isogloss.errors import ConfigError
from isogloss.methods.method import Method
from isogloss.tuning.compiled import Compiled
from isogloss.tuning.context_prompt import ContextPrompt
from isogloss.tuning.full import FullParameters
from isogloss.tuning.lora import Lora
from isogloss.tuning.prefix import Prefix
from isogloss.tuning.soft_prompt import SoftPrompt

Kind = Literal["vocabulary-rows", "merged"]
INSTEAD = "`isogloss predict` answers with it"


def kind_of(method: Method, *, vocabulary_rows: bool) -> Kind:
    """The kind of export that is asked for.

    Raises:
        ConfigError: what the method learnt cannot be exported so.
    """
    tune = method.tune
    if method.shift is not None:
        raise ConfigError(
            f"a run of {method.name} shifts hidden states inside the model while it answers, "
            f"which no folder of weights can hold, so it cannot be exported; {INSTEAD}"
        )
    if isinstance(tune, Prefix | Compiled):
        raise ConfigError(
            f"a run of {method.name} has keys and values in every layer, which are no rows of "
            "a vocabulary and no weights of the model, so it cannot be exported; plain PEFT loads "
            f"its adapter folder, and {INSTEAD}"
        )
    if isinstance(tune, SoftPrompt | ContextPrompt):
        if not vocabulary_rows:
            raise ConfigError(
                f"a run of {method.name} learnt {tune.learns}, which is exported as rows of the "
                "vocabulary; give --vocabulary-rows"
            )
        return "vocabulary-rows"
    if not isinstance(tune, Lora | FullParameters):
        raise ConfigError(
            f"a run of {method.name} learnt {tune.learns}, so there is nothing to export; serve "
            "its base model as it is"
        )
    if vocabulary_rows:
        raise ConfigError(
            f"a run of {method.name} learnt {tune.learns} and has no soft prompt for "
            "--vocabulary-rows; leave it out, and a whole model is written"
        )
    return "merged"
