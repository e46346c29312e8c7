"""What accelerate asks for, and what is refused of it."""

from __future__ import annotations

import pytest

from isogloss.errors import ConfigError
from isogloss.model.load import ModelOptions
from isogloss.model.sharding import Sharding, asked_sharding, load_in_pieces

FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.fixture(autouse=True)
def launched(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_without_fsdp_the_model_is_whole():
    assert asked_sharding() is None


@pytest.mark.parametrize(("given", "reshard"), [("", True), ("true", True), ("false", False)])
def test_fsdp2_holds_it_in_pieces(given, reshard, monkeypatch):
    for name, value in FSDP2.items():
        monkeypatch.setenv(name, value)
    if given:
        monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", given)
    assert asked_sharding() == Sharding(reshard)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ACCELERATE_USE_FSDP": "true"}, "fsdp_version must be 2"),
        (FSDP2 | {"FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params must be false"),
        (FSDP2 | {"FSDP_ACTIVATION_CHECKPOINTING": "true"}, "give --gradient-checkpointing"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "give the number format with --dtype"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "dynamo_backend must be 'no'"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed is not supported"),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, "a parallelism config is not supported"),
    ],
)
def test_what_is_not_supported_is_refused(given, told, monkeypatch):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=told):
        asked_sharding()


def test_one_process_without_fsdp_has_what_accelerate_gives_it(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert asked_sharding() is None


def test_a_quantised_model_is_not_held_in_pieces():
    options = ModelOptions(quantization="4bit")
    with pytest.raises(ConfigError, match="leave --quantization or FSDP out"):
        load_in_pieces("nothing", options, Sharding(), frozen=True)
