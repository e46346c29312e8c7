from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from isogloss.errors import ConfigError, DataError
from isogloss.tasks.benchmarks import BENCHMARKS, BenchmarkSettings, load_benchmark
from isogloss.tasks.sources import check_folder, described, find_file, find_optional, hub_records


def test_the_first_candidate_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.json").touch()
    (tmp_path / "c.json").touch()
    assert find_file(tmp_path, ("a.json", "b/x.json", "c.json"), "X") == tmp_path / "b" / "x.json"
    assert find_optional(tmp_path, ("b",)) is None  # a folder is no file


def test_a_missing_file_lists_what_was_looked_for_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_file(tmp_path, ("a.json", "b/a.json"), "XQuAD file for 'tr'", advice="Get it there.")
    message = str(caught.value)
    for part in (str(tmp_path), "XQuAD file for 'tr'", "  a.json", "  b/a.json", "Get it there."):
        assert part in message


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no such folder"):
        find_file(tmp_path / "no", ("a.json",), "X")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="found a file"):
        check_folder(tmp_path / "file")


def test_hub_rows_become_records_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load(*arguments: Any, split: str) -> datasets.Dataset:
        asked.append((*arguments, split))
        return datasets.Dataset.from_list([{"a": 1}, {"a": 2}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    records = hub_records("owner/set", "tr", "test")
    assert asked == [("owner/set", "tr", "test")]
    assert [(record.file, record.line, record.values["a"]) for record in records] == [
        ("hub:owner/set/tr/test", 1, 1),
        ("hub:owner/set/tr/test", 2, 2),
    ]


def test_an_error_of_the_hub_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError) as caught:
        hub_records("owner/set", "tr", "test")
    message = str(caught.value)
    for part in ("hub:owner/set/tr/test", "ConnectionError: no route", "give their folder"):
        assert part in message


def test_a_long_value_is_cut_in_an_error() -> None:
    assert len(described("x" * 500)) == 60


def test_every_benchmark_loads_by_its_name(tmp_path: Path) -> None:
    for name in BENCHMARKS:
        task = load_benchmark(name, folder=tmp_path, hub=False)
        assert (task.name, task.dominant) == (name, "en")
        assert task.languages[0] == "en"
    assert len(BENCHMARKS) == 3


def test_each_benchmark_takes_the_settings_that_concern_it() -> None:
    settings = BenchmarkSettings(raw_questions=True, split_rule="paper", wording="harness")
    tasks = {
        name: load_benchmark(name, folder=None, hub=True, settings=settings) for name in BENCHMARKS
    }
    assert tasks["xcopa"].settings() == {"wording": "harness", "raw_questions": True}
    assert tasks["xquad"].settings() == {"wording": "harness", "split_rule": "paper"}
    assert tasks["xnli"].settings()["wording"] == "harness"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("xcpoa", {"folder": None, "hub": True}, "no benchmark 'xcpoa'.*did you mean 'xcopa'"),
        ("xcopa", {"folder": None, "hub": False}, "neither was given"),
        ("xcopa", {"folder": Path(), "hub": True}, "both was given"),
        (
            "xquad",
            {"folder": None, "hub": True, "settings": BenchmarkSettings(split_rule="articles")},
            "no split rule 'articles'; there are article, paper; did you mean 'article'",
        ),
        (
            "xnli",
            {"folder": None, "hub": True, "settings": BenchmarkSettings(wording="english")},
            "no wording 'english'; there are default, harness",
        ),
    ],
)
def test_a_benchmark_that_cannot_be_loaded(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_benchmark(name, **arguments)


def test_a_missing_folder_is_found_before_any_reading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_benchmark("xnli", folder=tmp_path / "no", hub=False)
