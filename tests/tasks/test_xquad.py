from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from isogloss.errors import ConfigError, DataError
from isogloss.tasks.reading import Record
from isogloss.tasks.xquad import ARTICLE_SIZES, Xquad, article_test_ids, random_test_ids


def entry(name: str, **changes: Any) -> dict[str, Any]:
    answers = [{"text": "red", "answer_start": 4}]
    return {"id": name, "question": f"What of {name}? ", "answers": answers, **changes}


def article(number: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
    context = f"The red fox of article {number}."
    return {"title": f"T{number}", "paragraphs": [{"context": context, "qas": entries}]}


def write(folder: Path, articles: list[Any], language: str = "tr") -> Path:
    path = folder / f"xquad.{language}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": articles}, indent=1), encoding="utf-8")
    return path


def ten_articles() -> list[dict[str, Any]]:
    return [article(n, [entry(f"{n}-{place}") for place in range(5)]) for n in range(10)]


def ids(task: Xquad, language: str, split: Any, seed: int = 1) -> list[str]:
    return [one.id for one in task.read(language, split, seed=seed).examples]


@pytest.mark.parametrize("place", ["xquad", ".", "data", "xquad/data"])
def test_layouts(tmp_path: Path, place: str) -> None:
    path = write(tmp_path / place, ten_articles())
    portion = Xquad(tmp_path).read("tr", "train", seed=1)
    assert portion.files[0].samefile(path)
    assert portion.notes == {}
    example = next(one for one in portion.examples if one.id.endswith("-3"))
    assert example.fields["question"] == f"What of {example.id}?"
    assert (example.options, example.answers) == ((), ("red",))


def test_article_split_keeps_articles_whole(tmp_path: Path) -> None:
    write(tmp_path, ten_articles())
    training, test = (ids(Xquad(tmp_path), "tr", split) for split in ("train", "test"))
    assert (len(training), len(test)) == (40, 10)
    assert not {name[0] for name in training} & {name[0] for name in test}
    assert ids(Xquad(tmp_path), "tr", "validation") == []


def test_paper_split_takes_a_fifth_of_the_ids(tmp_path: Path) -> None:
    write(tmp_path, ten_articles())
    task = Xquad(tmp_path, split_rule="paper")
    training, test = ids(task, "tr", "train"), ids(task, "tr", "test")
    assert (len(training), len(test)) == (40, 10)
    assert not set(training) & set(test)


@pytest.mark.parametrize("rule", ["article", "paper"])
def test_splits_depend_on_ids_and_seed_but_not_on_order(tmp_path: Path, rule: str) -> None:
    write(tmp_path, ten_articles(), "en")
    write(tmp_path, ten_articles()[::-1], "tr")
    task = Xquad(tmp_path, split_rule=rule)
    assert set(ids(task, "tr", "test")) == set(ids(task, "en", "test"))
    assert len({frozenset(ids(task, "en", "test", seed=seed)) for seed in range(5)}) > 1


def test_article_split_comes_near_a_fifth_whatever_the_sizes() -> None:
    articles = [[f"{n}-{place}" for place in range(size)] for n, size in enumerate(ARTICLE_SIZES)]
    for seed in range(20):
        assert abs(len(article_test_ids(articles, seed=seed)) - 238) <= 12
        assert (
            len(random_test_ids([name for names in articles for name in names], seed=seed)) == 238
        )


def test_a_byte_order_mark_before_the_context_is_dropped(tmp_path: Path) -> None:
    articles = ten_articles()
    for one in articles:
        paragraph = one["paragraphs"][0]
        paragraph["context"] = "\ufeff" + paragraph["context"]
        for item in paragraph["qas"]:
            item["answers"] = [{"text": "red", "answer_start": 5}]
    write(tmp_path, articles)
    portion = Xquad(tmp_path).read("tr", "test", seed=1)
    assert portion.examples[0].fields["context"].startswith("The red")
    assert portion.notes == {}


def test_answers_out_of_place_are_counted_and_repeated_ones_dropped(tmp_path: Path) -> None:
    answers = [{"text": "red", "answer_start": 4}, {"text": "red"}, {"text": "fox"}]
    write(tmp_path, [*ten_articles(), article(11, [entry("a", answers=answers)])])
    portion = Xquad(tmp_path, split_rule="paper").read("tr", "train", seed=1)
    assert portion.notes == {"answers not at their answer_start": 2}
    found = {
        one.id: one.answers
        for split in ("train", "test")
        for one in Xquad(tmp_path).read("tr", split, seed=1).examples
    }
    assert found["a"] == ("red", "fox")


def test_all_problems_of_a_file_are_told_with_line_and_field(tmp_path: Path) -> None:
    bad = [
        entry("a", question=" "),
        entry("b", answers=[{"text": "blue", "answer_start": 4}]),
        entry("c", answers=[]),
        entry("d", answers=[{"answer_start": 4}]),
        entry(7),  # type: ignore[arg-type]
    ]
    path = write(tmp_path, [article(0, bad), {"title": "T"}, article(2, ["x"])])  # type: ignore[list-item]
    with pytest.raises(DataError) as caught:
        Xquad(tmp_path).read("tr", "train", seed=1)
    lines = path.read_text(encoding="utf-8").split("\n")
    told = {problem.field: problem for problem in caught.value.problems}
    assert len(caught.value.problems) == 7
    assert '"id": "a"' in lines[(told["question"].line or 0) - 1]
    assert "data[1].paragraphs" in told
    assert "data[2].paragraphs[0].qas" in told
    message = str(caught.value)
    for part in ("found 'blue'; expected words of the context", "field 'id': found 7", "found []"):
        assert part in message
    assert all(str(path) == problem.file for problem in caught.value.problems)


def test_broken_json_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "xquad.tr.json").write_text('{"data": [\n{,\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"xquad\.tr\.json, line 2: found broken JSON"):
        Xquad(tmp_path).read("tr", "train", seed=1)


def test_a_language_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"XQuAD has no 'sw' \(Swahili\); it has en, ar, de"):
        Xquad(tmp_path).read("sw", "train", seed=1)
    with pytest.raises(DataError, match=r"xquad/xquad\.tr\.json(.|\n)*google-deepmind/xquad"):
        Xquad(tmp_path).read("tr", "train", seed=1)


def hub_rows(count: int) -> list[dict[str, Any]]:
    articles = [number for number, size in enumerate(ARTICLE_SIZES) for _ in range(size)]
    return [
        {
            "id": str(place),
            "context": f"The red fox of article {articles[place]}.",
            "question": "What?",
            "answers": {"text": ["red"], "answer_start": [4]},
        }
        for place in range(count)
    ]


def test_the_hub_has_the_known_articles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, split: datasets.Dataset.from_list(hub_rows(1190))
    )
    training, test = (Xquad(None).read("tr", split, seed=1) for split in ("train", "test"))
    assert len(training.examples) + len(test.examples) == 1190
    contexts = [{one.fields["context"] for one in part.examples} for part in (training, test)]
    assert not contexts[0] & contexts[1]
    assert test.examples[0].answers == ("red",)


def test_a_hub_copy_in_another_order_has_only_the_paper_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *_, split: datasets.Dataset.from_list(hub_rows(50))
    )
    with pytest.raises(DataError, match=r"articles are not known.*'paper'"):
        Xquad(None).read("tr", "test", seed=1)
    assert len(Xquad(None, split_rule="paper").read("tr", "test", seed=1).examples) == 10


def test_a_new_item_needs_no_answer() -> None:
    new = Record("new.jsonl", 5, {"context": "The red fox.", "question": "Which colour?"})
    assert Xquad(None).parse(new, "tr").id == "5"
    assert Xquad(None).parse(new, "tr").answers == ()
    answered = Record("new.jsonl", 5, {**new.values, "answers": ["red"], "id": "x"})
    assert Xquad(None).parse(answered, "tr").answers == ("red",)
    with pytest.raises(DataError, match="line 5, field 'context': found nothing"):
        Xquad(None).parse(Record("new.jsonl", 5, {"question": "Which?"}), "tr")


def test_harness_wording_is_in_the_items_language() -> None:
    task = Xquad(None, wording_name="harness")
    record = Record("new.jsonl", 1, {"context": "红色。", "question": "什么?", "answers": ["红色"]})
    rendered = task.render(task.parse(record, "zh"))
    assert (rendered.input, rendered.answer) == ("语境: 红色。\n\n问题: 什么?\n\n回答:", " 红色")


def test_a_language_without_harness_wording_lists_those_with_one() -> None:
    with pytest.raises(ConfigError, match="no harness wording for 'hi'; it has one for en, ar, de"):
        Xquad(None, wording_name="harness").wording("hi")


def test_real_data_has_the_known_articles_and_is_parallel(real_data: Path) -> None:
    data = json.loads((real_data / "xquad/xquad.en.json").read_text(encoding="utf-8"))["data"]
    sizes = tuple(sum(len(p["qas"]) for p in one["paragraphs"]) for one in data)
    assert sizes == ARTICLE_SIZES
    for rule, count in (("paper", 238), ("article", 240)):
        task = Xquad(real_data, split_rule=rule)
        test = ids(task, "en", "test", seed=42)
        assert len(test) == count
        assert all(ids(task, one, "test", seed=42) == test for one in ("zh", "es", "tr", "el"))
        assert len(ids(task, "tr", "train", seed=42)) == 1190 - count


def test_real_articles_are_not_shared(real_data: Path) -> None:
    data = json.loads((real_data / "xquad/xquad.en.json").read_text(encoding="utf-8"))["data"]
    article_of = {
        item["id"]: one["title"] for one in data for p in one["paragraphs"] for item in p["qas"]
    }
    for seed in (1, 2, 3):
        training, test = (
            {article_of[name] for name in ids(Xquad(real_data), "tr", split, seed=seed)}
            for split in ("train", "test")
        )
        assert not training & test
        assert len(training | test) == 48


def test_real_contexts_have_no_byte_order_mark(real_data: Path) -> None:
    for language in ("en", "zh", "es", "tr", "el"):
        for one in Xquad(real_data).read(language, "train", seed=1).examples:
            assert "\ufeff" not in one.fields["context"]
            assert one.answers


def test_a_real_prompt(real_data: Path) -> None:
    task = Xquad(real_data, split_rule="paper")
    everything = [
        one for split in ("train", "test") for one in task.read("en", split, seed=1).examples
    ]
    example = next(one for one in everything if one.id == "56beb4343aeaaa14008c925b")
    rendered = task.render(example)
    assert rendered.input == (
        f"Context: {example.fields['context']}\n"
        "Question: How many points did the Panthers defense surrender?\nAnswer:"
    )
    assert example.fields["context"].startswith("The Panthers defense gave up just 308 points")
    assert (rendered.answer, rendered.options) == (" 308", ())
