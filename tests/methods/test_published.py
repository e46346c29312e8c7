"""The methods say what the paper says: stages, numbers, what learns, and that a record is read."""

from __future__ import annotations

import dataclasses
import json

import pytest

from isogloss.demonstrations.choose import Demonstrations
from isogloss.errors import ConfigError
from isogloss.methods.losses import AnswerLoss
from isogloss.methods.method import Method
from isogloss.methods.registry import METHODS, TUNINGS, method, method_from
from isogloss.tuning.full import FullParameters
from isogloss.tuning.soft_prompt import SoftPrompt
from isogloss.tuning.tuning import Tuning

KINDS = {"xquad": "span", "xcopa": "choice", "xnli": "label"}
BOTH = ("dominant", "target")
# Appendix B.2: epochs on XQuAD, XCOPA, XNLI, and whose items are the targets of each stage.
# Direct transfer and FT have no row of their own: TL's for one language.
ROWS = {
    "direct-transfer": ((1, 3, 3), [("dominant",)]),
    "ft": ((1, 3, 3), [("target",)]),
    "tl": ((1, 3, 3), [("dominant",), ("target",)]),
    "mtl": ((2, 3, 3), [BOTH]),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("place", range(3))
def test_methods_that_tune_all_parameters(name, place):
    task = list(KINDS)[place]
    made = method(name, task, KINDS[task])
    epochs, targets = ROWS[name]
    stages = [(stage.targets, stage.epochs, stage.learning_rate) for stage in made.stages]
    assert stages == [(whose, epochs[place], 2e-6) for whose in targets]
    assert (made.name, made.batch_size) == (name, 4)
    assert made.tune == FullParameters()
    assert made.tune.prompt_length == 0
    assert made.context.count == 0
    assert made.loss.places == ()


@pytest.mark.parametrize(
    ("task", "epochs", "length", "count"), [("xquad", 5, 1, 1), ("xcopa", 20, 10, 3)]
)
def test_cl_icp(task, epochs, length, count):
    made = method("cl-icp", task, KINDS[task])
    (stage,) = made.stages
    assert (stage.targets, stage.epochs, stage.learning_rate) == (("target",), epochs, 1e-3)
    assert made.tune == SoftPrompt(length)
    assert made.context == Demonstrations(count, "mixed")
    assert made.loss == AnswerLoss("all", 1.0)


@pytest.mark.parametrize("name", METHODS)
def test_a_task_of_ones_own_has_the_numbers_of_its_kind(name):
    for kind, like in (("span", "xquad"), ("choice", "xcopa"), ("label", "xnli")):
        assert method(name, "own", kind) == method(name, like, kind)


@pytest.mark.parametrize("name", METHODS)
def test_a_record_is_read_back(name):
    made = METHODS[name]("xquad", "span")
    record = json.loads(json.dumps(dataclasses.asdict(made)))
    assert method_from(record) == made
    with pytest.raises(ConfigError, match="cannot read the run's method"):
        method_from(record | {"tune": {"name": "other"}})


def test_every_tuning_has_its_name_and_says_what_learns():
    trained = {name: kind for name, kind in TUNINGS.items() if name != "compiled"}
    for name, kind in trained.items():
        made: Tuning = kind()
        assert made.name == name
        assert kind.learns
    assert {made.tune.name for made in made_methods()} == set(trained)


def made_methods() -> list[Method]:
    return [make("xcopa", "choice") for make in METHODS.values()]


def test_every_method_has_a_section_and_a_summary_of_its_own():
    made = made_methods()
    assert [each.name for each in made] == list(METHODS)
    assert all(each.section and each.summary for each in made)
    assert len({each.summary for each in made}) == len(made)
