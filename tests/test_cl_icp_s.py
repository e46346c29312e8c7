"""CL-ICP (S) end to end: every reading of the shift in training, going on, and at test."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

import isogloss
from isogloss.cli.main import main
from isogloss.demonstrations.choose import Demonstrations
from isogloss.demonstrations.schedule import test_groups as groups_at_test
from isogloss.errors import ConfigError
from isogloss.evaluating import open_finished
from isogloss.learning import EpisodeTrainer
from isogloss.representation_shift import VECTORS_FILE, Shift
from isogloss.runs import Run, read_lines
from isogloss.settings import TrainSettings
from isogloss.tasks.splits import read_test
from isogloss.training import prepare
from shift_twin import (
    SEPARATOR,
    Plain,
    batches_of,
    deep_model,
    item_of,
    parity_task,
    saved,
    steps_of,
    text_of,
)
from span_task import write_spans
from test_shifcon import killed, needs_fork

TO, BACK = LAYERS = (2, 4)
READINGS = ("unshifted", "running", "undo", "corpus", "none")
STILL = 1e-12
PROMPT = "adapter_model.safetensors"
LENGTH = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return deep_model(tmp_path_factory.mktemp("deep"))


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    return parity_task(tmp_path_factory.mktemp("task"))


def trained(task: Path, model: Path, out: Path, **options) -> Run:
    given = {"method": "cl-icp-s", "epochs": 1, "demonstrations": 2, "prompt_length": LENGTH}
    return isogloss.train(task, model=model, target="tr", out=out, **(given | options))


class Learning(TrainerCallback):
    """Which parameters have a gradient before an update."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.names |= {name for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def watched(task, model, tmp_path_factory):
    """Runs of one epoch at a learning rate of nothing, and what had a gradient in them."""
    made: dict[str, tuple[Run, Learning]] = {}

    def make(**options) -> tuple[Run, Learning]:
        name = json.dumps(options, sort_keys=True)
        if name not in made:
            watch, plain = Learning(), EpisodeTrainer._set_callbacks
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    EpisodeTrainer,
                    "_set_callbacks",
                    lambda self: (plain(self), self.add_callback(watch)),
                )
                fixed = {"learning_rate": STILL, "shift_layers": LAYERS}
                run = trained(task, model, tmp_path_factory.mktemp("run"), **fixed, **options)
            made[name] = run, watch
        return made[name]

    return make


@pytest.fixture(scope="module")
def still(watched):
    return lambda **options: watched(**options)[0]


@pytest.fixture(scope="module")
def plain(model) -> Plain:
    return Plain(model)


# The slow twin.


class Twin:
    """An episode {p, x_d, y_d, x_t, y_t} as one sequence of vectors, moved as the paper writes."""

    def __init__(self, plain: Plain, prompt: torch.Tensor, shift: dict) -> None:
        self.plain, self.prompt, self.shift = plain, prompt, shift
        if shift["back"] == "corpus":
            vectors = plain.vectors(range(8), LAYERS)  # the ids that both languages have
            self.apart = vectors["en"] - vectors["tr"]

    def write(self, demonstrations, target, ending) -> None:
        """The ids, and which columns are what."""
        ids, self.inputs, self.answers = [], [], []
        blank = self.plain.ids(SEPARATOR)
        for name in demonstrations:
            language, number = item_of(name)
            own = self.plain.ids(text_of(language, number))
            answer = self.plain.ids((" yes", " no")[number % 2])
            start = LENGTH + len(ids)
            self.inputs.append((language, range(start, start + len(own))))
            self.answers.append(range(start + len(own), start + len(own) + len(answer) + 1))
            ids += [*own, *answer, *blank]
        own = self.plain.ids(text_of(*item_of(target)))
        start = LENGTH + len(ids)
        self.asked = range(start, start + len(own))
        self.ending = range(self.asked.stop, self.asked.stop + len(ending))
        self.ids = [*[-1] * LENGTH, *ids, *own, *ending]

    def gap(self, hidden: torch.Tensor) -> torch.Tensor:
        """sentpool(H_d) - sentpool(H_t) of (tokens, width)."""
        towards = self.shift.get("towards", "tokens")
        means = [hidden[list(columns)].mean(0) for _, columns in self.inputs]
        own = hidden[list(self.asked)].mean(0)
        if towards == "samples":
            return torch.stack(means).mean(0) - own
        if towards == "nearest":
            return means[self.nearest] - own
        wanted = ("en",) if towards == "dominant" else ("en", "tr")
        columns = [c for code, span in self.inputs if code in wanted for c in span]
        return hidden[columns].mean(0) - own

    def values(self) -> torch.Tensor:
        """Log-probabilities, (tokens, vocabulary), of the sequence as written."""
        table = self.plain.model.get_input_embeddings()
        text = table(torch.tensor(self.ids[LENGTH:]))
        arguments = {"inputs_embeds": torch.cat([self.prompt, text])[None]}
        plain = {
            layer: states[0].detach()
            for layer, states in enumerate(
                self.plain.model(**arguments, output_hidden_states=True).hidden_states
            )
        }
        asked = plain[TO][list(self.asked)].mean(0)
        far = [float((plain[TO][list(c)].mean(0) - asked).norm()) for _, c in self.inputs]
        self.nearest = far.index(min(far))
        back, scale = self.shift["back"], self.shift.get("scale", 1.0)
        stop = self.asked.stop if self.shift.get("tokens") == "input" else None
        added = {}

        def addition(layer: int, hidden: torch.Tensor) -> torch.Tensor:
            if back == "corpus":
                return self.apart[0] if layer == TO else -self.apart[1]
            if layer == TO:
                return self.gap(hidden)
            if back == "undo":
                return -added[TO]
            if back == "unshifted":
                return -self.gap(plain[BACK])
            return -self.gap(hidden) if back == "running" else torch.zeros(hidden.shape[-1])

        def moved(layer: int):
            def hook(_, __, output):
                hidden = output[0].clone()
                added[layer] = addition(layer, hidden)
                own = added[layer] if back == "running" else added[layer].detach()
                hidden[self.asked.start : stop] += scale * own
                return hidden[None]

            return hook

        with ExitStack() as stack:
            for layer in LAYERS if back != "off" else ():
                block = self.plain.model.model.layers[layer - 1]
                stack.callback(block.register_forward_hook(moved(layer)).remove)
            return self.plain.model(**arguments).logits[0].log_softmax(-1)

    def cross_entropy(self, values: torch.Tensor, columns: range) -> torch.Tensor:
        return -torch.stack([values[at - 1, self.ids[at]] for at in columns]).mean()

    def loss(self, demonstrations, target) -> torch.Tensor:
        """CE(y_t) + the mean of CE(y_d), each the mean over its tokens and its end."""
        answer = self.plain.ids((" yes", " no")[item_of(target)[1] % 2])
        self.write(demonstrations, target, [*answer, self.plain.ids(SEPARATOR)[0]])
        values = self.values()
        solved = [self.cross_entropy(values, columns) for columns in self.answers]
        return self.cross_entropy(values, self.ending) + sum(solved) / len(solved)


CASES = [
    *({"shift": back} for back in READINGS),
    {"shift": "running", "shift_towards": "dominant"},
    {"shift": "unshifted", "shift_towards": "samples", "shift_scale": 0.5},
    {"shift": "undo", "shift_towards": "nearest", "shift_tokens": "input"},
]


def settings_of(case: dict) -> dict:
    named = {name.removeprefix("shift_"): value for name, value in case.items()}
    return {"back" if name == "shift" else name: value for name, value in named.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_loss_and_gradient_are_those_of_a_slow_twin(case, still, plain):
    run = still(**case)
    prompt = saved(run, PROMPT)["prompt_embeddings"].requires_grad_()
    twin = Twin(plain, prompt, settings_of(case))
    groups, step = batches_of(run)[0], steps_of(run)[0]
    losses = [
        twin.loss(group["demonstrations"], name) for group in groups for name in group["targets"]
    ]
    assert len(losses) == 4
    loss = torch.stack(losses).mean()
    assert step["loss"] == pytest.approx(loss.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, prompt)
    assert step["grad_norm"] == pytest.approx(float(gradient.norm()), rel=1e-3)


def test_the_readings_are_apart(still):
    """Or a twin could not tell them apart; at L_to they agree, so it is L_back that differs."""
    losses = [steps_of(still(shift=back))[0]["loss"] for back in READINGS]
    for number, one in enumerate(losses):
        assert all(abs(one - other) > 1e-3 for other in losses[:number])


@pytest.mark.parametrize("back", READINGS)
def test_only_the_prompt_learns(back, watched):
    run, watch = watched(shift=back)
    assert {name.rpartition(".")[2] for name in watch.names} == {"prompt"}
    assert len(watch.names) == 1
    assert (VECTORS_FILE in run.record["adapter"]) == (back == "corpus")


# Going on, coming back.


@needs_fork
@pytest.mark.parametrize("back", ["unshifted", "corpus"])
def test_a_killed_run_comes_to_the_same_files(back, task, model, tmp_path):
    def work(out: Path) -> Run:
        return trained(task, model, out, shift=back, epochs=2, save_every=1)

    unbroken = work(tmp_path / "unbroken")
    killed(4, lambda: work(tmp_path / "broken"))
    (folder,) = (tmp_path / "broken").iterdir()
    assert not Run(folder).finished
    assert list(folder.glob("stage-0/checkpoint-3/*.safetensors"))
    resumed = work(tmp_path / "broken")
    assert steps_of(resumed) == steps_of(unbroken)
    assert resumed.record["adapter"] == unbroken.record["adapter"]


def entries_of(run: Run) -> dict[str, dict]:
    (folder,) = (run.folder / "evaluations").glob("tr-*")
    return {entry["id"]: entry for entry in read_lines(folder / "predictions.jsonl")}


@pytest.mark.parametrize("back", READINGS)
def test_scores_do_not_depend_on_the_batch_and_are_the_twins(back, still, plain):
    """The demonstrations stand in the record's order: what one item has, all of its set have."""
    run = still(shift=back)
    first = isogloss.evaluate(run, batch_size=8)
    found = entries_of(run)
    assert len(found) == 5
    for size in (1, 4):
        again = isogloss.evaluate(run, force=True, batch_size=size)
        assert again.rows() == first.rows()
        for name, entry in entries_of(run).items():
            wanted = found[name]["log_probabilities"]
            assert entry["log_probabilities"] == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    prompt = saved(run, PROMPT)["prompt_embeddings"]
    twin = Twin(plain, prompt, {"back": back})
    with torch.no_grad():
        for demonstrations, name in shown(run):
            for option, value in found[name]["log_probabilities"].items():
                ending = twin.plain.ids(f" {option}")
                twin.write(demonstrations, f"tr/{name}", ending)
                wanted = -twin.cross_entropy(twin.values(), twin.ending) * len(ending)
                assert value == pytest.approx(float(wanted), rel=1e-4, abs=1e-4)


def shown(run: Run) -> list[tuple[list[str], str]]:
    """Each test item with the demonstrations that it has."""
    opened = open_finished(str(run.folder), model=None, data=None, dtype=None)
    asked = read_test(opened.task, "tr", seed=42).examples
    settings = Demonstrations(2, "mixed")
    return [
        ([f"{item.language}/{item.id}" for item in group.demonstrations], target.id)
        for group in groups_at_test(asked, opened.pool(settings), settings, seed=42)
        for target in group.targets
    ]


@pytest.mark.parametrize("back", ["corpus", "undo"])
def test_a_run_evaluated_twice_has_the_same_scores(back, still):
    run = still(shift=back)
    first = isogloss.evaluate(run).content
    second = isogloss.evaluate(run, force=True).content
    drop = ("seconds",)
    assert {k: v for k, v in first.items() if k not in drop} == {
        k: v for k, v in second.items() if k not in drop
    }


def test_without_a_shift_it_is_cl_icp_to_the_last_bit(task, model, tmp_path):
    off = trained(task, model, tmp_path, shift="off")
    plain = trained(task, model, tmp_path, method="cl-icp")
    on = trained(task, model, tmp_path)
    assert off.folder != plain.folder
    assert steps_of(off) == steps_of(plain) != steps_of(on)
    assert off.record["adapter"] == plain.record["adapter"] != on.record["adapter"]
    scores = [isogloss.evaluate(run) for run in (off, plain)]
    assert [s.rows()[0]["value"] for s in scores] == [scores[0].value] * 2
    assert entries_of(off) == entries_of(plain)
    # And the other way round: CL-ICP with a shift is CL-ICP (S).
    given = trained(task, model, tmp_path, method="cl-icp", shift="unshifted")
    assert steps_of(given) == steps_of(on)


# Settings.


def test_the_settings_of_the_command_line_reach_the_run(task, model, tmp_path, capsys):
    given = [
        *("train", str(task), "--model", str(model), "--target", "tr", "--out", str(tmp_path)),
        *("--method", "cl-icp-s", "--demonstrations", "2", "--max-steps", "1", "--epochs", "1"),
        *("--shift", "running", "--shift-layers", "2", "5", "--shift-scale", "0.5"),
        *("--shift-towards", "samples", "--shift-tokens", "input"),
    ]
    assert main([*given, "--json"]) == 0
    (folder,) = tmp_path.iterdir()
    recorded = Run(folder).record
    wanted = Shift("running", "samples", "input", 0.5, layers=(2, 5))
    assert Shift(**recorded["method"]["shift"]) == wanted
    assert recorded["layers"] == {"to": 2, "back": 5, "how": "as given", "distances": []}
    plain = capsys.readouterr().out
    assert json.loads(plain)


def test_without_layers_those_of_the_least_distance_are_recorded(task, model, tmp_path):
    run = trained(task, model, tmp_path, max_steps=1)
    recorded = run.record["layers"]
    assert len(recorded["distances"]) == 5
    assert recorded["how"] == "least distance over 8 and 8 sentences"
    assert 1 <= recorded["to"] < recorded["back"] == recorded["to"] + 1
    assert run.record["method"]["shift"]["layers"] is None


def test_each_setting_is_another_run_and_the_way_a_number_is_written_is_not(task, model):
    def key(**options) -> str:
        given = {"method": "cl-icp-s"} | options
        return prepare(TrainSettings(str(task), str(model), "tr", **given)).record["key"]

    keys = [
        key(),
        *(key(shift=back) for back in READINGS[1:]),
        key(shift_layers=(2, 4)),
        key(shift_scale=0.5),
        key(shift_tokens="input"),
        key(shift_towards="samples"),
    ]
    assert len(set(keys)) == len(keys)
    assert key(shift_scale=1) == key(shift_scale=1.0) == key() == key(shift="unshifted")
    ours = {"method": "shifcon"}
    assert key(**ours, contrast_temperature=1) == key(**ours, contrast_temperature=1.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"method": "cl-icp", "shift_scale": 0.5},
            "shift scale is a setting of the representation shift; "
            "method 'cl-icp' has none without --shift",
        ),
        (
            {"shift": "off", "shift_layers": (2, 4)},
            "shift layers is a setting of the representation shift; "
            "method 'cl-icp-s' has none with --shift off",
        ),
        ({"shift": "running", "demonstrations": 0}, "and there are none; give --demonstrations"),
        ({"demonstrations": 0}, "the shift 'unshifted' moves a target to its demonstrations"),
        (
            {"shift": "corpus", "shift_towards": "nearest"},
            "shift towards is a setting of a shift to the demonstrations; "
            "method 'cl-icp-s' shifts by language vectors",
        ),
        (
            {"shift_towards": "dominant", "demonstration_languages": "target"},
            "demonstrations of the dominant language, and there are none",
        ),
        ({"shift": "away"}, "shift is 'away'; it must be"),
        ({"shift_layers": (4, 2)}, "shift layers are 4 and 2"),
        ({"shift_layers": (2, 6)}, "shift layers are 2 and 6, but the model's last layer is 5"),
        ({"shift_scale": float("nan")}, "shift scale is nan; it must be a finite number"),
        ({"method": "mtl", "contrast_weight": 1.0}, "contrast weight is a setting of contrastive"),
        ({"contrast_pairs": 4}, "contrast pairs is a setting of contrastive learning"),
        ({"method": "shifcon", "contrast_pairs": 1}, "contrast pairs is 1; it must be 2 or more"),
        (
            {"method": "shifcon", "shift_towards": "tokens"},
            "method 'shifcon' shifts by language vectors",
        ),
        (
            {"method": "shifcon", "shift": "running"},
            "the shift 'running' moves a target to its demonstrations",
        ),
    ],
)
def test_settings_that_say_nothing_or_cannot_be_are_refused(given, message, task, model, tmp_path):
    options = {"model": model, "target": "tr", "out": tmp_path / "runs", "method": "cl-icp-s"}
    with pytest.raises(ConfigError, match=message):
        isogloss.train(task, **(options | given))
    assert not (tmp_path / "runs").exists(), "nothing was written"


# Spans.


@pytest.fixture(scope="module")
def spans(model, tmp_path_factory):
    """A task of spans, and what is written without a shift."""
    folder = tmp_path_factory.mktemp("spans")
    task = write_spans(folder)
    run = trained(task, model, folder / "off", learning_rate=STILL, max_steps=1, shift="off")
    isogloss.evaluate(run, max_new_tokens=6)
    return task, {name: entry["text"] for name, entry in entries_of(run).items()}


@pytest.mark.parametrize("back", ["unshifted", "corpus"])
def test_generated_spans_are_shifted_and_do_not_depend_on_the_batch(back, spans, model, tmp_path):
    task, without = spans
    options = {"learning_rate": STILL, "max_steps": 1, "shift_layers": LAYERS}
    run = trained(task, model, tmp_path, shift=back, **options)
    texts = []
    for size in (8, 1, 4):
        isogloss.evaluate(run, force=True, batch_size=size, max_new_tokens=6)
        texts.append({name: entry["text"] for name, entry in entries_of(run).items()})
    assert texts[0] == texts[1] == texts[2]
    assert len(texts[0]) == 6
    assert without != texts[0], "the same prompt and demonstrations, unshifted"
    items = [{"passage": f"Parça {n} is red.", "question": "Which?"} for n in range(5)]
    found = [p.text for p in isogloss.predict(run, items, max_new_tokens=6)]
    (alone,) = isogloss.predict(run, items[2:3], batch_size=1, max_new_tokens=6)
    assert alone.text == found[2]
