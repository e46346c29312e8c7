"""Loading: folders, GGUF files, packages, and every refusal."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from conftest import ARCHITECTURES, byte_level_tokenizer, tiny_loaded
from gguf_files import write_gguf
from isogloss.errors import ConfigError, ModelError
from isogloss.model import load as loading
from isogloss.model.attention import default_layout, sliding_window
from isogloss.model.load import ModelOptions, identify, load
from isogloss.tuning.full import FullParameters
from isogloss.tuning.tuning import StartIds


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_folder_loads_as_it_was_saved(architecture, model_folder):
    folder = model_folder(architecture)
    loaded = load(str(folder))
    assert loaded.model.dtype == torch.float32
    assert loaded.context == 2048
    assert not loaded.model.training
    assert loaded.fingerprint == identify(str(folder))
    assert default_layout(loaded.model) == "tree"
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(
        loaded.model(ids).logits, tiny_loaded(architecture).model(ids).logits
    )


def test_fingerprints_differ_between_models(model_folder):
    assert len({identify(str(model_folder(name))) for name in ARCHITECTURES}) == 4


def test_options_decide_format_and_kernel(model_folder):
    options = ModelOptions(dtype="bfloat16", device="cpu", attention="eager")
    loaded = load(str(model_folder("llama")), options)
    assert loaded.model.dtype == torch.bfloat16
    assert loaded.model.config._attn_implementation == "eager"


def test_gemmas_window_is_seen():
    assert sliding_window(tiny_loaded("gemma3").model.config) == 24
    assert sliding_window(tiny_loaded("qwen2").model.config) is None


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        (BertConfig, BertForMaskedLM, "not a causal language model.*BertForMaskedLM"),
        (T5Config, T5ForConditionalGeneration, "sequence-to-sequence"),
    ],
)
def test_encoders_and_sequence_models_are_refused(config, kind, words, tmp_path):
    sizes = (
        dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
        if config is BertConfig
        else dict(d_model=16, num_layers=1, num_heads=2, d_ff=16, d_kv=8)
    )
    kind(config(vocab_size=300, **sizes)).save_pretrained(tmp_path)
    byte_level_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=words):
        load(str(tmp_path))


def test_missing_things_are_named(tmp_path, model_folder):
    with pytest.raises(ModelError, match="no such model folder"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="no such GGUF file"):
        load(str(tmp_path / "nothing.gguf"))
    with pytest.raises(ModelError, match=r"config\.json"):
        load(str(tmp_path))
    with pytest.raises(ModelError, match="'none-such-package' is not installed"):
        load("package:none-such-package")
    with pytest.raises(ModelError, match="holds 0 GGUF files"):
        load("package:pytest")
    tiny_loaded().model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no tokenizer"):
        load(str(tmp_path))


def test_a_pickled_model_is_never_loaded(tmp_path):
    ready = tiny_loaded()
    ready.tokenizer.save_pretrained(tmp_path)
    ready.model.config.save_pretrained(tmp_path)
    torch.save(ready.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load(str(tmp_path))


def test_damaged_model_files_are_named(tmp_path, model_folder):
    ready = tiny_loaded()
    ready.tokenizer.save_pretrained(tmp_path)
    ready.model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="cannot load the model"):
        load(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot read the model"):
        load(str(tmp_path))


def test_devices_and_quantisation_that_are_not_here(model_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no GPU"):
        load(str(model_folder("llama")), ModelOptions(device="cuda"))
    with pytest.raises(ConfigError, match="expected auto"):
        load(str(model_folder("llama")), ModelOptions(device="tpu9000"))
    with pytest.raises(ConfigError, match="needs a GPU"):
        load(str(model_folder("llama")), ModelOptions(quantization="4bit"))


def test_quantisation_is_asked_of_bitsandbytes(monkeypatch):
    """Where a GPU is: the options that reach transformers (the GPU itself is not needed here)."""
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: object())
    place = loading._Place("folder", None, ())
    options = ModelOptions(quantization="4bit")
    asked = loading._quantization(options, place, torch.device("cuda"))
    assert asked["quantization_config"].load_in_4bit
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="bitsandbytes"):
        loading._quantization(options, place, torch.device("cuda"))


def test_a_gguf_file_gives_the_same_model(tmp_path):
    ready = tiny_loaded()
    path = tmp_path / "tiny.gguf"
    write_gguf(path, ready)
    loaded = load(str(path))
    assert loaded.fingerprint == identify(str(path))
    ids = torch.tensor([[5, 6, 7, 300, 12]])
    torch.testing.assert_close(
        loaded.model(ids).logits, ready.model(ids).logits, rtol=1e-4, atol=1e-4
    )
    text = "Premise: The man turned on the faucet.\nAnswer: (A)"
    assert loaded.tokenizer.decode(loaded.tokenizer(text)["input_ids"]) == text


def test_all_parameters_of_a_gguf_model_can_be_tuned_and_saved(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", tiny_loaded())
    model = load(str(tmp_path / "tiny.gguf")).model
    tune = FullParameters()
    weights = tune.start(model, StartIds((1,)), seed=1)
    ids = torch.tensor([[5, 6, 7, 300, 12]])
    with tune.attached(model, weights):
        model(ids, labels=ids).loss.backward()
        with torch.no_grad():
            for parameter in weights.values():
                parameter -= 0.1 * parameter.grad
            tuned = model(ids).logits
    tune.save(weights, tmp_path / "saved", model)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(ids).logits, tuned)
    assert not torch.allclose(model(ids).logits, tuned, atol=1e-3)
