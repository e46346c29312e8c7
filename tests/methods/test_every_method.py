"""Every method end to end: what learns, what the first update minimises, and that it comes back."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, TrainerCallback

import isogloss
from conftest import tiny_loaded
from helpers import parity_task
from isogloss import training
from isogloss.learning import EpisodeTrainer
from isogloss.methods.contrast import contrastive_loss
from isogloss.methods.registry import METHODS, method
from isogloss.model.layers import padded, sentence_means
from isogloss.model.load import load
from isogloss.objective import Objective
from isogloss.runs import Run, read_lines
from isogloss.settings import TrainSettings
from isogloss.training import episode_encoder, prepare

TRAINED = [name for name in METHODS if METHODS[name]("xcopa", "choice").stages]


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    return parity_task(tmp_path_factory.mktemp("task"))


class Watch(TrainerCallback):
    """Which of a model's parameters have a gradient before each update."""

    def __init__(self) -> None:
        self.moved: list[set[str]] = []
        self.others: set[str] = set()

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        found = {n: p.grad for n, p in model.named_parameters()}
        self.moved.append({n for n, g in found.items() if g is not None and g.abs().max() > 0})
        self.others |= {n for n, p in model.named_parameters() if not p.requires_grad}


def trained(task, model_folder, out, name, **given) -> tuple[Run, Watch]:
    watch = Watch()
    plain = EpisodeTrainer._set_callbacks

    def watched(self):
        plain(self)
        self.add_callback(watch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpisodeTrainer, "_set_callbacks", watched)
        options = {"method": name, "max_steps": 2, "epochs": 1, "out": out} | given
        run = isogloss.train(task, model=model_folder("llama"), target="tr", **options)
    return run, watch


LEARNS = {
    "full": lambda name: True,
    "soft-prompt": lambda name: name.endswith("embed_tokens.prompt"),
    "context-prompt": lambda name: name.endswith("embed_tokens.prompt"),
    "prefix": lambda name: name.endswith(("embed_tokens.keys", "embed_tokens.values")),
    "lora": lambda name: ".lora_" in name,
}


@pytest.mark.parametrize("name", TRAINED)
def test_what_should_learn_has_a_gradient_and_nothing_else(task, model_folder, tmp_path, name):
    run, watch = trained(task, model_folder, tmp_path, name, max_steps=3)
    kind = run.record["method"]["tune"]["name"]
    learns = LEARNS[kind]
    # Over three updates: LoRA's A has none in the first, when B is zero, and what follows the
    # middle layer has none from a contrastive loss there.
    reached = set.union(*watch.moved)
    assert all(learns(n) for n in reached)
    assert not any(learns(n) for n in watch.others)
    if kind == "full":
        assert reached == {n for n, _ in tiny_loaded("llama").model.named_parameters()}
    else:
        counts = {
            "soft-prompt": 1,
            "context-prompt": 1,
            "prefix": 2,
            "lora": 63 if name == "dora" else 42,
        }
        assert len(reached) == counts[kind]
        assert len([n for n in watch.others if not n.endswith(".prompt")]) == 29


def tokens_of(run: Run, stage: int = 0) -> list[tuple[list[str], list[str]]]:
    """The demonstrations and targets of the first batch, as `language/id`."""
    lines = [
        line for line in read_lines(run.folder / "demonstrations.jsonl") if line["stage"] == stage
    ]
    return [
        (one["demonstrations"], one["targets"])
        for one in lines
        if one["epoch"] == one["batch"] == 0
    ]


def first_loss(run: Run, task, model_folder, name) -> float:
    """The loss of a run's first batch as the run recorded it: one unpadded sequence a target."""
    settings = TrainSettings(str(task), str(model_folder("llama")), "tr", method=name)
    job = prepare(settings)
    loaded = load(settings.model, settings.loading)
    recorded = method(name, "parity", "label")
    episodes = episode_encoder(job.task, loaded, recorded, False, None)
    items = {f"{i.language}/{i.id}": i for i in (*job.split.dominant, *job.split.target)}
    weights = recorded.tune.start(
        loaded.model, training._start_ids(job, episodes, loaded), seed=settings.seed
    )
    total, count = 0.0, 0
    with torch.no_grad(), recorded.tune.attached(loaded.model, weights):
        for demonstrations, targets in tokens_of(run):
            solved = [job.task.render(items[one]) for one in demonstrations]
            front = episodes.encoder.demonstration_set(solved)
            for one in targets:
                target = episodes.encoder.target(job.task.render(items[one]), len(solved))
                ids = [*front.ids, *target.ids, *target.answer]
                logits = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)

                def loss_of(start, stop, ids=ids, logits=logits):
                    return -sum(float(logits[n - 1, ids[n]]) for n in range(start, stop)) / (
                        stop - start
                    )

                total += loss_of(len(ids) - len(target.answer), len(ids))
                if recorded.loss.demonstrations == "all" and front.answers:
                    own = [loss_of(span.start, span.stop) for span in front.answers]
                    total += recorded.loss.weight * sum(own) / len(own)
                count += 1
    return total / count


OWN_TWINS = ("shifcon", "cl-icp-s", "cpt")  # in tests of their own


@pytest.mark.parametrize("name", [n for n in TRAINED if n not in OWN_TWINS])
def test_the_first_update_minimises_what_a_slow_twin_computes(task, model_folder, tmp_path, name):
    run, _ = trained(task, model_folder, tmp_path, name, max_steps=1)
    assert run.log[0]["loss"] == pytest.approx(first_loss(run, task, model_folder, name), rel=1e-4)


def test_the_methods_that_shift_have_a_twin_of_their_own():
    """CL-ICP (S) in tests/test_representation_shift.py, ShifCon below."""
    assert {"shifcon", "cl-icp-s"} <= set(TRAINED)
    assert len(TRAINED) >= 17


def test_shifcons_first_update_is_half_the_shifted_answers_and_twice_the_contrast(
    task, model_folder, tmp_path
):
    run, _ = trained(task, model_folder, tmp_path, "shifcon", max_steps=1)
    settings = TrainSettings(str(task), str(model_folder("llama")), "tr", method="shifcon")
    job = prepare(settings)
    loaded = load(settings.model, settings.loading)
    episodes = episode_encoder(job.task, loaded, None, False, None)
    to, back = run.record["layers"]["to"], run.record["layers"]["back"]
    model, rendered = loaded.model, job.task.render

    def states(items, layer):
        own = episodes.sentences(items)
        return torch.stack([sentence_means(model, *padded([ids]), (layer,))[0, 0] for ids in own])

    with torch.no_grad():
        # All 10 items of each language are the corpus, and there is one batch of all 10 pairs.
        sides = (job.split.dominant, job.split.target)
        apart = {L: states(sides[0], L).mean(0) - states(sides[1], L).mean(0) for L in (to, back)}
        both = [torch.stack([states(side, L) for L in range(to, back)], 1) for side in sides]
        contrast = contrastive_loss(*both, temperature=1.0, recentre=True)
        items = {f"{i.language}/{i.id}": i for side in sides for i in side}
        losses = []
        for _, targets in tokens_of(run):
            for one in targets:
                target = episodes.encoder.target(rendered(items[one]), 0)
                front = episodes.encoder.demonstration_set([])
                ids = [*front.ids, *target.ids, *target.answer]
                hooks = []
                for layer, sign in ((to, 1), (back, -1)):
                    if one.startswith("tr/"):
                        vector = sign * apart[layer]
                        hooks.append(
                            model.model.layers[layer].register_forward_pre_hook(
                                lambda _, args, vector=vector: (args[0] + vector, *args[1:])
                            )
                        )
                logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
                for hook in hooks:
                    hook.remove()
                first = len(ids) - len(target.answer)
                own = [-logits[n - 1, ids[n]] for n in range(first, len(ids))]
                losses.append(torch.stack(own).mean())
    assert {one[:2] for _, targets in tokens_of(run) for one in targets} == {"en", "tr"}
    wanted = 0.5 * torch.stack(losses).mean() + 2.0 * contrast
    assert run.log[0]["loss"] == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_what_was_learnt_comes_back(task, model_folder, tmp_path, name):
    """Scored twice from the folder, with other batches: the same; and it answers new items."""
    # A learning rate at which two updates change the answers' probabilities.
    run, _ = trained(task, model_folder, tmp_path, name, learning_rate=0.05)
    scores = isogloss.evaluate(run)
    before = {entry["id"]: entry["log_probabilities"] for entry in run.predictions}
    again = isogloss.evaluate(run, force=True, batch_size=3, baseline=True)
    assert again.value == scores.value
    for entry in run.predictions:
        assert entry["log_probabilities"] == pytest.approx(before[entry["id"]], rel=1e-4, abs=1e-4)
    folder = next((run.folder / "evaluations").iterdir())
    baseline = "zero-shot" if run.record["method"]["context"]["count"] == 0 else "icl"
    untuned = {e["id"]: e["log_probabilities"] for e in read_lines(folder / f"{baseline}.jsonl")}
    moved = [abs(before[i][o] - untuned[i][o]) for i in before for o in before[i]]
    assert max(moved) > 1e-3
    (answer,) = isogloss.predict(run, [{"text": "tr 7"}])
    assert answer.prediction in ("yes", "no")


@pytest.mark.parametrize(
    "name", ["lora", "dora", "mtl-lora", "cl-ict-lora", "prefix-tuning", "prompt-tuning"]
)
def test_plain_peft_loads_the_adapter_and_gives_the_same_logits(task, model_folder, tmp_path, name):
    run, _ = trained(task, model_folder, tmp_path, name, learning_rate=0.05)
    base = AutoModelForCausalLM.from_pretrained(model_folder("llama"))
    plain = PeftModel.from_pretrained(copy.deepcopy(base), run.adapter).eval()
    loaded = load(str(model_folder("llama")))
    tune = method(name, "parity", "label").tune
    weights = tune.load(run.adapter, loaded.model)
    ids = torch.arange(30, 70)[None]
    first = loaded.model.get_input_embeddings().weight.shape[0]
    own = torch.arange(first, first + tune.prompt_length)[None]
    with torch.no_grad(), tune.attached(loaded.model, weights):
        found = loaded.model(torch.cat([own, ids], dim=1)).logits[:, tune.prompt_length :]
    with torch.no_grad():
        wanted = plain(ids).logits[:, -ids.shape[1] :]
        untuned = base(ids).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (found - untuned).abs().max() > 1e-2


class Killed(BaseException):
    """Stands for a kill: nothing in the code under test expects it."""


@pytest.mark.parametrize("name", ["cl-ict-lora", "prefix-tuning", "mid-align", "shifcon"])
def test_a_killed_run_comes_to_the_same_numbers(task, model_folder, tmp_path, name):
    """With dropout (LoRA), and with language vectors made when the epoch began (ShifCon)."""
    given = {"max_steps": 8, "epochs": 2, "save_every": 2, "batch_size": 4, "learning_rate": 0.01}
    unbroken, _ = trained(task, model_folder, tmp_path / "unbroken", name, **given)
    plain, calls = Objective.value, []

    def deadly(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return plain(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "value", deadly)
        with pytest.raises(Killed):
            trained(task, model_folder, tmp_path / "broken", name, **given)
    resumed, _ = trained(task, model_folder, tmp_path / "broken", name, **given)
    logs = [[(e["step"], e["loss"]) for e in run.log] for run in (unbroken, resumed)]
    assert len(logs[0]) == unbroken.log[-1]["step"] >= 4
    assert logs[0] == logs[1]
    assert unbroken.record["adapter"] == resumed.record["adapter"]
