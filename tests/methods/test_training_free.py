"""Methods that train nothing: their folders, their scores, calibration, and "+ ICL" (Table 4)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel

import isogloss
import isogloss.evaluating
from helpers import parity_task
from isogloss.cli.main import main
from isogloss.errors import ConfigError
from isogloss.methods.registry import METHODS
from isogloss.runs import read_lines

FREE = [name for name in METHODS if not METHODS[name]("xcopa", "choice").stages]


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    return parity_task(tmp_path_factory.mktemp("task"))


@pytest.fixture
def train(task, model_folder, tmp_path):
    def train(method, **options):
        given = {"model": model_folder("llama"), "target": "tr", "out": tmp_path / "runs"}
        return isogloss.train(task, method=method, **(given | options))

    return train


def scores_of(run, **options) -> dict[str, dict[str, float]]:
    isogloss.evaluate(run, **options)
    return {entry["id"]: entry["log_probabilities"] for entry in run.predictions}


@pytest.fixture
def plain(model_folder):
    """Log p of an answer after a prompt, in plain transformers."""
    model = AutoModelForCausalLM.from_pretrained(model_folder("llama"))
    tokenizer = AutoTokenizer.from_pretrained(model_folder("llama"))

    @torch.no_grad()
    def log_probability(prompt: str, answer: str) -> float:
        before = tokenizer(prompt)["input_ids"]
        ids = torch.tensor([before + tokenizer(answer)["input_ids"]])
        logits = model(ids).logits[0].log_softmax(-1)
        return sum(float(logits[n - 1, ids[0, n]]) for n in range(len(before), ids.shape[1]))

    return log_probability


def question(text: str) -> str:
    return f"Text: {text}\nIs it so?"


def test_there_are_as_many_as_we_say():
    assert len(FREE) == 6


@pytest.mark.parametrize("name", FREE)
def test_a_run_is_written_without_training_and_scored(name, train, model_folder):
    before = {p.name: p.read_bytes() for p in model_folder("llama").iterdir()}
    run = train(name)
    assert run.finished
    assert run.record["adapter"] == {}
    assert run.log == []
    assert isogloss.evaluate(run, baseline=True).content["items"] == 10
    (answer,) = isogloss.predict(run, [{"text": "tr 7"}])
    assert answer.prediction in ("yes", "no")
    assert train(name).folder == run.folder
    assert before == {p.name: p.read_bytes() for p in model_folder("llama").iterdir()}


def test_zero_shot_is_plain_transformers(train, plain):
    for name, found in scores_of(train("zero-shot")).items():
        number = int(name[1:])
        text = f"tr {'so ' * (number % 3)}{number}"
        wanted = {option: plain(question(text), f" {option}") for option in ("yes", "no")}
        assert found == pytest.approx(wanted, abs=1e-4)


def test_retrieved_demonstrations_stand_before_the_item(train, plain):
    """The whole prompt, put together here from the nearest training items."""
    run = train("icl-retrieved", demonstrations=2)
    found = scores_of(run)
    opened = isogloss.evaluating.open_finished(str(run.folder), model=None, data=None, dtype=None)
    pool = opened.pool(opened.method.context)
    items = {f"i{n}": n for n in range(50, 60)}
    for name, number in items.items():
        text = f"tr {'so ' * (number % 3)}{number}"
        asked = isogloss.Example(name, "tr", {"text": text})
        near = sorted(
            zip(pool.ranking.scores(asked), pool.ranking.items, strict=True),
            key=lambda one: (-one[0], one[1].id, one[1].language),
        )
        chosen = [one for _, one in near[:2]]
        if len({one.language for one in chosen}) == 1:
            chosen[1] = next(one for _, one in near if one.language != chosen[0].language)
        solved = "".join(f"{question(d.fields['text'])} {d.answers[0]}\n\n" for d in chosen[::-1])
        wanted = {o: plain(solved + question(text), f" {o}") for o in ("yes", "no")}
        assert found[name] == pytest.approx(wanted, abs=2e-3)


def test_the_methods_are_the_baselines_of_a_trained_run(train):
    """zero-shot and icl of `--baseline`, item by item: the same demonstration sets are met."""
    trained = train("cl-icp", max_steps=1, epochs=1)
    isogloss.evaluate(trained, baseline=True)
    folder = next((trained.folder / "evaluations").iterdir())
    for baseline, name in (("zero-shot", "zero-shot"), ("icl", "icl-mixed")):
        wanted = {e["id"]: e["log_probabilities"] for e in read_lines(folder / f"{baseline}.jsonl")}
        found = scores_of(train(name))
        assert wanted.keys() == found.keys()
        for item in wanted:
            assert found[item] == pytest.approx(wanted[item], abs=1e-4)


def test_calibration_divides_by_what_options_get_without_content(train, plain):
    found = scores_of(train("icl-calibrated", demonstrations=0))
    shares = []
    for empty in ("N/A", "[MASK]", ""):
        logs = torch.tensor([plain(question(empty), f" {option}") for option in ("yes", "no")])
        shares.append(logs.softmax(0))
    prior = torch.stack(shares).mean(0).log().tolist()
    for name, own in found.items():
        number = int(name[1:])
        text = f"tr {'so ' * (number % 3)}{number}"
        logs = [plain(question(text), f" {option}") for option in ("yes", "no")]
        wanted = {o: a - b for o, a, b in zip(("yes", "no"), logs, prior, strict=True)}
        assert own == pytest.approx(wanted, abs=1e-4)


def test_calibration_may_be_given_to_a_trained_method(train):
    plain_run = train("cl-icp", max_steps=1, epochs=1)
    run = train("cl-icp", max_steps=1, epochs=1, calibration="contextual")
    assert run.folder != plain_run.folder
    one, other = scores_of(plain_run), scores_of(run)
    assert all(one[item] != other[item] for item in one)


def test_a_trained_run_with_demonstrations_it_was_not_trained_with(train):
    """Table 4's "+ ICL": the sets of a CL-ICP run of the same seed, and scores of their own."""
    run = train("mtl", max_steps=1, epochs=1)
    alone = isogloss.evaluate(run).value
    main_file = (run.folder / "scores.json").read_bytes()
    scores = isogloss.evaluate(
        run, demonstrations=3, demonstration_languages="mixed", baseline=True
    )
    assert (run.folder / "scores.json").read_bytes() == main_file
    assert run.scores["value"] == alone
    assert scores.content["setting"]["demonstrations"] == 3
    folder = next(
        path for path in (run.folder / "evaluations").iterdir() if (path / "icl.jsonl").is_file()
    )
    untuned = {e["id"]: e["log_probabilities"] for e in read_lines(folder / "icl.jsonl")}
    icl = scores_of(train("icl-mixed", demonstrations=3))
    for item in untuned:
        assert untuned[item] == pytest.approx(icl[item], abs=1e-4)
    (answer,) = isogloss.predict(run, [{"text": "tr 7"}], demonstrations=2)
    assert answer.prediction in ("yes", "no")


def test_a_sentence_encoder_chooses_too(train, tmp_path, model_folder):
    tokenizer = AutoTokenizer.from_pretrained(model_folder("llama"))
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    encoders = []
    for number in range(2):
        torch.manual_seed(number)
        folder = tmp_path / f"encoder-{number}"
        BertModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        encoders.append(folder)
    given = {"demonstration_choice": "encoder", "demonstrations": 2}
    runs = [train("icl-mixed", encoder=str(folder), **given) for folder in encoders]
    assert runs[0].folder != runs[1].folder
    found = [scores_of(run) for run in runs]
    assert found[0] != found[1]
    opened = isogloss.evaluating.open_finished(
        str(runs[0].folder), model=None, data=None, dtype=None
    )
    ranking = opened.pool(opened.method.context).ranking
    asked = ranking.items[3]
    assert max(ranking.scores(asked)) == pytest.approx(1.0, abs=1e-5)
    model = BertModel.from_pretrained(encoders[0]).eval()
    with torch.no_grad():
        alone = [
            model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0].mean(0)
            for text in (asked.fields["text"], ranking.items[7].fields["text"])
        ]
    cosine = torch.nn.functional.cosine_similarity(alone[0], alone[1], dim=0)
    assert ranking.scores(asked)[7] == pytest.approx(float(cosine), abs=1e-4)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("zero-shot", {"epochs": 3}, "epochs is a setting of training; method 'zero-shot' trains"),
        ("icl-mixed", {"learning_rate": 0.1}, "learning rate is a setting of training"),
        ("icl-mixed", {"demonstration_loss": "all"}, "demonstration loss is a setting of training"),
        (
            "zero-shot",
            {"demonstration_choice": "bm25"},
            "demonstration choice is a setting of demon",
        ),
        (
            "icl-mixed",
            {"demonstration_choice": "encoder"},
            "choose 'encoder' and an encoder go together",
        ),
        ("icl-mixed", {"prompt_length": 3}, "prompt length is a setting of soft prompts"),
    ],
)
def test_settings_that_say_nothing_are_refused(method, options, message, train):
    with pytest.raises(ConfigError, match=message):
        train(method, **options)


def test_demonstrations_at_evaluation_are_checked(train, capsys):
    run = train("mtl", max_steps=1, epochs=1)
    for given, said in (
        (["--demonstrations", "-1"], "demonstrations is -1; it must be 0 or more"),
        (["--demonstrations", "50"], "50 demonstrations asked of both languages together"),
        (["--demonstration-languages", "target"], "say nothing of the run's own demonstrations"),
    ):
        assert main(["evaluate", str(run.folder), *given]) == 2
        assert said in capsys.readouterr().err
    assert not (run.folder / "scores.json").exists()
