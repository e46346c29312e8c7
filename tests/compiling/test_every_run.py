"""Every kind of run compiled: each method's own parts, turns of a chat, written spans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import isogloss
from compiled_runs import answers, model_with_begin_token, opened, set_of, trained
from isogloss.answering import Answering


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return model_with_begin_token(tmp_path_factory.mktemp("base"), "llama")


ALONE = {"demonstrations": None, "share_demonstrations": None}
UNTRAINED = {"max_steps": None, "learning_rate": None, "share_demonstrations": None}
OTHERS = {
    "mtl-prompt": ALONE,
    "prefix-tuning": ALONE,
    "cpt": ALONE | {"learning_rate": None},
    "icl-mixed": UNTRAINED,
    "icl-calibrated": UNTRAINED,
    "cl-ict-lora": {"learning_rate": 0.01},
    "cl-ict": {"learning_rate": 0.01},
}


@pytest.mark.parametrize("method", OTHERS)
def test_every_kind_of_run_answers_as_before(method, tmp_path, base):
    run = trained(tmp_path, base, method=method, **OTHERS[method])
    made = isogloss.compile_run(run, out=tmp_path / "compiled")
    content, items = made.content, opened(run).split.test
    assert content["peft_difference"] < 1e-4
    assert content["own_difference"] < 1e-4
    assert content["measured"]["agreement"] == 1.0
    how = Answering(calibration=opened(run).method.calibration)
    wanted, _ = answers(run, set_of(run, content), items, how)
    found = isogloss.predict(made.run, [{"text": one.fields["text"]} for one in items])
    for one, other in zip(found, wanted, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-3)
    inside = method in ("cl-ict", "cl-ict-lora")
    assert (content["note"] is not None) is inside
    assert (Path(content["model"]) == base) is not inside
    assert (tmp_path / "compiled" / "model").is_dir() is (method == "cl-ict-lora")
    names = [row["name"] for row in isogloss.evaluate(made.run, baseline=True).rows()]
    assert names == [f"{method}-compiled", "zero-shot"]
    assert made.run.record["method"]["stages"] == run.record["method"]["stages"]


def test_as_turns_of_a_chat(tmp_path, model_folder):
    run = trained(tmp_path, model_folder("qwen2"), chat=True)
    content = isogloss.compile_run(run, out=tmp_path / "compiled").content
    assert content["own_difference"] < 1e-4
    assert content["measured"]["agreement"] == 1.0
    assert (
        isogloss.evaluate(tmp_path / "compiled").value == content["measured"]["systems"][0]["value"]
    )


def test_spans_are_written_as_before(tmp_path, base):
    task = tmp_path / "spans"
    task.mkdir()
    (task / "task.yaml").write_text(
        "name: spans\nkind: span\ndominant: en\nlanguages: [en, tr]\nfields: [context]\n"
        "answer: answers\nwording: {input: 'Context: {context}\\nAnswer:'}\n"
        "files: '{language}-{split}.jsonl'\n"
    )
    for language in ("en", "tr"):
        for split, count in (("train", 8), ("test", 5)):
            rows = [
                {"context": f"{language} {split} the old man {n}", "answers": ["man"]}
                for n in range(count)
            ]
            (task / f"{language}-{split}.jsonl").write_text(
                "".join(json.dumps(r) + "\n" for r in rows)
            )
    run = isogloss.train(
        task,
        model=base,
        target="tr",
        out=tmp_path / "runs",
        demonstrations=2,
        max_steps=1,
        share_demonstrations=1,
    )
    made = isogloss.compile_run(run, out=tmp_path / "compiled", max_new_tokens=6)
    assert made.content["measured"]["agreement"] == 1.0
    items, how = opened(run).split.test, Answering(max_new_tokens=6)
    wanted, _ = answers(run, set_of(run, made.content), items, how)
    for batch_size in (1, 8):
        found = isogloss.predict(
            made.run, [dict(one.fields) for one in items], max_new_tokens=6, batch_size=batch_size
        )
        assert [one.text for one in found] == [one.text for one in wanted]
    assert any(one.text for one in wanted)
