"""The engine's benchmark: all programs do the same work, and its numbers are what they say."""

from __future__ import annotations

import dataclasses
import json
import mmap
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.engine import __main__ as command
from benchmarks.engine import (
    curves,
    floor,
    growth,
    items,
    lengths,
    meter,
    peft_program,
    profile,
    program,
    ratios,
    rounds,
    shapes,
    work,
)
from benchmarks.engine.agreement import disagreements
from benchmarks.engine.making import make_work
from isogloss import ConfigError, RunError, load

SMALL = work.Asked(model="tiny", updates=3, items=5, sets=2, prompt_length=3, threads=1)


@pytest.fixture(autouse=True)
def no_sweeping(monkeypatch):
    """Sweeping the memory of all tests before each measurement takes most of the time."""
    monkeypatch.setattr(meter, "give_back", lambda: None)


def tiny_llama() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=1200,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """Works by what is asked, each made once."""
    made: dict[work.Asked, work.Work] = {}

    def make(**asked) -> work.Work:
        wanted = dataclasses.replace(SMALL, **asked)
        if wanted not in made:
            made[wanted] = make_work(tmp_path_factory.mktemp("work"), wanted)
        return made[wanted]

    return make


@pytest.fixture(scope="module")
def measured():
    """What every program measured on a work, in this process."""
    made: dict[Path, dict] = {}

    def measure(given: work.Work) -> dict:
        if given.folder not in made:
            made[given.folder] = {
                name: in_this_process(given, name, 0) for name in program.PROGRAMS
            }
        return made[given.folder]

    return measure


ASKED = (
    {},  # Gemma 3, its window shorter than the episodes
    {"model": "tiny-llama", "loss": "off", "share": 2},
    {"task": "xnli", "scale": 0.5},  # answers of several lengths
    {"task": "xquad", "scale": 0.2, "demonstrations": 1},
    {"demonstrations": 0, "checkpointing": True},
)


def test_a_profile_says_what_training_spends_its_time_on(capsys):
    profile.main(work.Asked(model="tiny", updates=1, items=2))
    first, _, *rows = capsys.readouterr().out.strip().splitlines()
    in_all, in_operators = (float(number) for number in re.findall(r"([\d.]+) s in", first))
    assert 0 < in_operators < in_all
    found = dict(re.findall(r"^\| (.+) \| ([\d.]+)% \|$", "\n".join(rows), re.M))
    assert list(found) == list(profile.KINDS)
    assert sum(map(float, found.values())) == pytest.approx(100, abs=0.3)
    assert all(float(share) > 0 for share in found.values())


def test_shares_are_of_each_operators_own_time():
    spent = [("aten::addmm", 2.0), ("mkldnn::_linear_pointwise", 1.0), ("aten::mul", 1.0)]
    assert profile.shares(spent) == {
        "attention, backward": 0,
        "attention, forward": 0,
        "matrix products": 0.75,
        "element by element": 0.25,
    }


@pytest.mark.filterwarnings("ignore:Position ids are not supported")  # PEFT's, generating spans
@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_every_program_comes_to_the_same(works, measured, monkeypatch, asked):
    monkeypatch.setitem(shapes.SHAPES, "tiny-llama", tiny_llama)
    given = works(**asked)
    found = measured(given)
    prompts = {name: rounds.prompt(given, name, 0) for name in program.PROGRAMS}
    for name in ("peft", "transformers"):
        learnt = (given.start, prompts[name], prompts["isogloss"])
        assert disagreements(name, found[name], found["isogloss"], "float32", learnt) == []
    losses = found["isogloss"]["losses"]
    assert len(losses) == 3
    assert len(set(losses)) == 3
    assert not torch.equal(prompts["isogloss"], given.start)
    if given.asked.task == "xquad":
        assert found["peft"]["answers"]["whole"], "some spans are held against isogloss'"
        assert found["transformers"]["answers"]["generated"] > 0


def test_what_the_model_is_given_is_counted(works, measured):
    """PEFT: rows as long as the longest of the batch; alone: less the last token of each."""
    given = works()
    found = measured(given)
    padded = [len(update) * max(len(one.ids) for one in update) for update in given.updates]
    episodes = sum(map(len, given.updates))
    prompt = 3 * episodes
    assert found["peft"]["train"]["tokens"] == sum(padded) + prompt
    assert found["peft"]["train"]["logits"] == sum(padded) + prompt
    assert found["transformers"]["train"]["tokens"] == sum(padded) + prompt - episodes
    answers = [stop - start for u in given.updates for one in u for start, stop in one.answers]
    assert found["transformers"]["train"]["logits"] == sum(answers)
    # What all targets of a set begin with is computed once too: no less than each beginning once.
    once = sum(
        3 + len({one.ids[:n] for one in update for n in range(1, len(one.ids))})
        for update in [[dataclasses.replace(o, ids=tuple(o.ids)) for o in u] for u in given.updates]
    )
    assert once <= found["isogloss"]["train"]["tokens"] < given.least_train.tokens
    assert found["isogloss"]["train"]["logits"] >= given.least_train.predicted
    for name in program.PROGRAMS:
        assert all(found[name][part]["seconds"] > 0 for part in ratios.PARTS)


def test_the_work_is_isogloss_own_schedule(works):
    """A batch's episodes begin with the demonstrations that the run folder says."""
    given = works()
    (run,) = (given.folder / work.FIRST_RUN).iterdir()
    lines = [json.loads(line) for line in (run / "demonstrations.jsonl").read_text().splitlines()]
    tokenizer = load(str(given.model)).tokenizer
    texts = {
        language: {
            row["id"]: row["premise"]
            for row in map(
                json.loads,
                (given.folder / "task" / language / "train.jsonl").read_text().splitlines(),
            )
        }
        for language in ("en", "tr")
    }
    for update, line in zip(given.updates, lines, strict=False):
        for episode, target in zip(update, line["targets"], strict=True):
            text = tokenizer.decode(episode.ids)
            named = [name.split("/") for name in (*line["demonstrations"], target)]
            places = [text.index(texts[language][name]) for language, name in named]
            assert places == sorted(places)
            assert len(episode.answers) == len(named)
            start, stop = episode.answers[-1]
            assert stop == len(episode.ids)
            assert tokenizer.decode(episode.ids[start:stop]).strip() in ("(A)", "(B)")


def test_shared_demonstrations_count_once(works):
    """Of 4 targets with one set: the set, and each target's own tokens."""
    shared, alone = works(), works(share=1)
    for given, sets in ((shared, 1), (alone, 4)):
        tokens = predicted = 0
        for update in given.updates:
            fronts = [one.ids[: one.answers[-2][1]] for one in update]
            own = [len(one.ids) - len(front) for one, front in zip(update, fronts, strict=True)]
            assert len(set(map(tuple, fronts))) == sets
            # A set ends with its separator's rest: nothing, as a blank line is one token here.
            tokens += sum(3 + len(front) for front in fronts[:sets]) + sum(own) - len(update)
            lengths = [[stop - start for start, stop in one.answers] for one in update]
            predicted += sum(sum(each[:-1]) for each in lengths[:sets])
            predicted += sum(each[-1] for each in lengths)
        assert given.least_train == work.Least(tokens, predicted)


def test_a_token_weighs_by_its_answer():
    labels = [-100, 5, 6, -100, 7, -100, -100, 8, 9, 4]
    assert peft_program.token_weights(labels) == [0, 1 / 4, 1 / 4, 0, 1 / 2, 0, 0, *[1 / 3] * 3]
    assert peft_program.token_weights([-100, 3, 2]) == [0, 1 / 2, 1 / 2]


def test_the_floor_by_hand(works):
    """Gemma 3 of width 32, 4 heads of 8, 2 of keys, 48 inside, 3 blocks, 1200 words."""
    least = work.Least(tokens=7, predicted=2)
    assert floor.operations(100, 50, least, training=True) == 4 * (7 * 100 + 2 * 50)
    assert floor.operations(100, 50, least, training=False) == 2 * (7 * 100 + 2 * 50)
    attention = 32 * 32 + 2 * 32 * 16 + 32 * 32
    norms = 4 * 32 + 2 * 8
    assert floor.sizes(works()) == (3 * (attention + 3 * 32 * 48 + norms), 1200 * 32)


def test_the_rate_counts_both_products(works, monkeypatch):
    passes = []
    clock, busy = iter(range(10_000)), iter(range(10_000))
    monkeypatch.setattr(floor.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(floor.time, "process_time", lambda: 2.0 * next(busy))
    monkeypatch.setattr(floor, "_pass", lambda *_: passes.append(1))
    given = works()
    rate = floor.matmul_rate(given)
    tokens = given.least_train.tokens // 3
    products = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
    assert rate.seconds == 4 * tokens * products * floor.COPIES, "a pass takes one tick"
    assert rate.processor == rate.seconds / 2
    assert len(passes) >= floor.REPEATS


def spent(seconds: float, memory: int = 10) -> dict:
    return {
        "seconds": seconds,
        "processor": 3 * seconds,
        "memory": memory,
        "tokens": 5,
        "logits": 3,
    }


def one_round(own: float, peft: float, plain: float, rate: float) -> dict:
    found = {
        name: {"train": spent(seconds, memory), "evaluate": spent(2 * seconds), "answers": {}}
        for name, seconds, memory in (
            ("isogloss", own, 30),
            ("peft", peft, 120),
            ("transformers", plain, 60),
        )
    }
    return found | {"rate": {"seconds": rate, "processor": rate / 2}}


def test_ratios_are_medians_of_each_rounds_ratio(works):
    given = works()
    least = floor.operations(*floor.sizes(given), given.least_train, training=True)
    found = ratios.ratios(
        given,
        [
            one_round(1.0, 4.0, 3.0, least),
            one_round(2.0, 20.0, 2.0, least / 4),
            one_round(1.0, 5.0, 2.0, least * 2),
        ],
    )
    assert found["train_vs_peft"] == 5.0
    assert found["train_vs_transformers"] == 2.0
    assert found["train_vs_floor"] == 1.0  # of 1/1, 2/4 and 1/0.5
    assert found["train_vs_floor_cpu"] == 1.5
    assert found["train_vs_peft_cpu"] == 5.0
    assert found["memory_vs_peft"] == 0.25
    assert found["evaluate_vs_peft"] == 5.0


def test_generated_tokens_are_part_of_the_floor(works):
    given = works()
    measured = one_round(1.0, 1.0, 1.0, 1.0)
    without = ratios.floors(given, measured)["evaluate"]
    measured["transformers"]["answers"] = {"generated": 11}
    parameters, head = floor.sizes(given)
    assert ratios.floors(given, measured)["evaluate"] == without + 2 * 11 * (parameters + head)


def in_this_process(given: work.Work, name: str, number: int):
    if name == program.RATE:
        return {"seconds": 1e9, "processor": 1e9}
    return program.measure(name, given, given.folder / f"{name}-{number}.safetensors")


def test_the_benchmark_ends_with_its_five_ratios(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(rounds, "run_program", in_this_process)
    out = tmp_path / "all.json"
    command.main(command.Settings(**dataclasses.asdict(SMALL), rounds=1, out=out))
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert list(found) == [
        "train_vs_peft",
        "train_vs_transformers",
        "evaluate_vs_peft",
        "train_vs_floor",
        "memory_vs_peft",
    ]
    assert all(found[name] > 0 for name in list(found)[:-1]), "memory is all tests' here"
    written = json.loads(out.read_text())
    assert len(written["rounds"]) == 1
    rows = [line.split(" | ")[:2] for line in lines if line.startswith("| train")]
    assert [row[1] for row in rows] == ["isogloss", "peft", "transformers", "floor"]


def test_other_numbers_end_the_benchmark_in_words(works, monkeypatch, tmp_path):
    def one_off(given, name, number):
        found = {
            "losses": [1.0, 2.0, 3.1 if name == "peft" else 3.0],
            "answers": {"scores": {"a": [0.0]}, "texts": {}, "whole": []},
        }
        save_file({"prompt": given.start + 1}, given.folder / f"{name}-{number}.safetensors")
        return found

    given = dataclasses.replace(works(), folder=tmp_path)
    save_file({"prompt_embeddings": torch.zeros(3, 32)}, tmp_path / work.START)
    monkeypatch.setattr(rounds, "run_program", one_off)
    with pytest.raises(RunError, match=r"loss of update 3 is 3\.1\d* by peft and 3\.0\d* by isog"):
        rounds.run_rounds(given, 1)


def test_every_kind_of_disagreement_is_seen():
    start, own = torch.zeros(2, 3), torch.ones(2, 3)
    answers = {"scores": {"a": [-1.0, -2.0]}, "texts": {"x": "one", "y": "two"}, "whole": ["x"]}
    mine = {"losses": [1.0, 2.0], "answers": answers}

    def of(losses=(1.0, 2.0), prompt=own, **other):
        found = {"losses": losses, "answers": answers | other}
        return disagreements("peft", found, mine, "float32", (start, prompt, own))

    assert of() == []
    assert of(losses=(1.000002, 2.001)) == []
    assert "update 1" in of(losses=(1.0001, 2.0))[0]
    assert "update 2" in of(losses=(1.0, float("nan")))[0]
    assert "2 updates" in of(losses=(1.0, 2.0, 3.0))[0] or "3 updates" in of((1.0, 2.0, 3.0))[0]
    assert "0.1000 of the way" in of(prompt=own * 0.9)[0]
    assert "item 'a'" in of(scores={"a": [-1.0, -2.1]})[0]
    assert "same items" in of(scores={"b": [-1.0, -2.0]})[0]
    assert of(texts={"x": "one", "y": "other"}) == [], "padded spans are not peft's to answer for"
    assert "0 of 1 spans" in of(texts={"x": "none", "y": "two"})[0]


@pytest.mark.parametrize("task", lengths.FIELDS)
def test_made_up_items_have_the_real_ones_lengths(task, tmp_path):
    tokenizer = shapes.made_tokenizer()
    known = lengths.read(task, "smollm2")
    both = shapes.words(tokenizer, 0), shapes.words(tokenizer, 1)
    maker = items.Maker(task, both, known)
    language, (field, *_) = lengths.FIELDS[task]
    rows = list(maker.rows(language, "train", 400, 42))
    counts = sorted(len(tokenizer(f" {row[field]}")["input_ids"]) for row in rows)
    table = known[language][field]
    assert counts[0] >= table[0]
    assert counts[-1] <= table[-1]
    assert counts[200] == pytest.approx(table[10], rel=0.15)
    assert counts[340] == pytest.approx(table[17], rel=0.15)
    longer = dataclasses.replace(maker, scale=2.0)
    twice = [row[field] for row in longer.rows(language, "train", 400, 42)]
    assert sum(len(text.split()) for text in twice) == pytest.approx(2 * sum(counts), rel=0.02)
    assert rows == list(maker.rows(language, "train", 400, 42))


def test_real_items_take_the_place_of_made_up_ones(real_data, tmp_path):
    words = shapes.made_words(0), shapes.made_words(1)
    maker = items.Maker("xcopa", words, lengths.read("xcopa", "smollm2"))
    sizes = items.Sizes(7, 6, 5)
    folder = items.write_items(tmp_path, maker, sizes, seed=42, data=str(real_data))
    counts = {
        place: [json.loads(line) for line in (folder / place).read_text().splitlines()]
        for place in ("en/train.jsonl", "tr/train.jsonl", "tr/test.jsonl")
    }
    assert [len(rows) for rows in counts.values()] == [7, 6, 5]
    known = (real_data / "xcopa" / "tr" / "test.tr.jsonl").read_text()
    assert all(row["premise"] in known for row in counts["tr/test.jsonl"])


def test_an_unknown_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no model 'smollm'; give a model folder or one of smol"):
        make_work(tmp_path, dataclasses.replace(SMALL, model="smollm"))


def test_a_curve_has_a_row_a_point(works, monkeypatch, capsys, tmp_path):
    asked = []

    def no_rounds(given, count, programs):
        asked.append(given.asked)
        return [one_round(2.0, 8.0, 4.0, 1e9)]

    monkeypatch.setattr(curves, "run_rounds", no_rounds)
    out = tmp_path / "curves.json"
    given = {**dataclasses.asdict(SMALL), "updates": 2, "items": 4, "axes": ("targets",)}
    curves.main(curves.Settings(**given, out=out))
    assert [(one.targets, one.share) for one in asked] == [(n, n) for n in (1, 2, 4, 8, 16)]
    points = json.loads(out.read_text())["targets"]
    assert [point["value"] for point in points] == [1, 2, 4, 8, 16]
    assert points[0]["isogloss"] == {"train": 1.0, "evaluate": 1.0, "memory": 30}
    assert points[0]["peft"]["evaluate"] == 4.0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(rows) == 6
    assert len({row.count("|") for row in rows}) == 1


def test_growth_says_what_an_item_more_takes():
    points = [
        {"items": 100, "read": {"seconds": 1.0, "memory": 1_000_000}},
        {"items": 300, "read": {"seconds": 2.0, "memory": 1_500_000}},
    ]
    *_, last = growth.table(points).splitlines()
    assert last.startswith("| 300 | 2.00 | 1.5 | 2.50 |")


def test_a_peak_is_seen_and_can_be_reset():
    if not meter.RESET.is_file():
        pytest.skip("only Linux lets a process reset its peak")
    meter.reset_peak()
    before = meter.peak()
    with mmap.mmap(-1, 64_000_000) as block:  # memory that no one in this process had before
        block.write(bytes([1]) * 64_000_000)
        assert meter.peak() > before + 50_000_000
    meter.reset_peak()
    assert meter.peak() < before + 30_000_000


def test_growth_writes_as_many_items_as_are_asked(tmp_path):
    growth.write(tmp_path, 30, growth.Settings())
    counts = [
        len((tmp_path / "tr" / f"{s}.jsonl").read_text().splitlines()) for s in ("train", "test")
    ]
    assert counts == [30, 30]
