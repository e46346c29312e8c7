"""Which process this is, and what it may do, without any other."""

from __future__ import annotations

import pytest
import torch

import isogloss
from isogloss import processes
from isogloss.cli.main import main
from isogloss.errors import ConfigError


@pytest.fixture
def second(monkeypatch):
    """This process is the second of two, which have not met."""
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("given", ["", "0", "1", "none"])
def test_alone_nothing_happens(given, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", given)
    monkeypatch.setenv("RANK", "3")
    assert (processes.count(), processes.rank(), processes.is_main()) == (1, 0, True)
    assert not processes.joined()
    processes.wait()
    processes.check_same("00", "anything")
    assert processes.decided(True)
    assert not processes.decided(False)
    assert (processes.total(0.5), processes.most(3)) == (0.5, 3)
    with pytest.raises(RuntimeError, match="Connection closed by peer"), processes.in_step():
        raise RuntimeError("Connection closed by peer")


def test_evaluate_and_predict_are_for_the_main_process(second):
    assert not processes.is_main()
    with pytest.raises(ConfigError, match=r"evaluate works in one process; .* \(RANK 0\)"):
        isogloss.evaluate("nothing")
    with pytest.raises(ConfigError, match=r"predict works in one process; .* \(RANK 0\)"):
        isogloss.predict("nothing", [])


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "t", "--model", "m", "--target", "tr"],
        ["evaluate", "nothing"],
        ["lab", "probe", "nothing"],
    ],
)
def test_only_training_is_shared(words, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"isogloss: {words[0]} works in one process, and WORLD_SIZE says 2")


def test_a_gpu_for_each_process(monkeypatch):
    for name in processes.MEETING:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="process 2 of this machine has no GPU of its own"):
        processes.join(torch.device("cuda"))
