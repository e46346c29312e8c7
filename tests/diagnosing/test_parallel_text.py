"""Parallel text from tasks and files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import shared_data
from isogloss.diagnosing.parallel_text import from_files, from_task
from isogloss.errors import ConfigError, DataError
from isogloss.tasks.benchmarks import BenchmarkSettings
from isogloss.tasks.opening import open_task
from isogloss.tasks.splits import make_split
from number_task import write_numbers


def opened(path: Path):
    task = open_task(str(path), None, BenchmarkSettings())
    return task, make_split(task, "tr", seed=1)


def test_a_table_with_more_languages_than_two(tmp_path):
    path = tmp_path / "text.tsv"
    path.write_text("en\tde\ttr\nOne.\tEins.\tBir.\n\nTwo.\t\tİki.\nOne.\tEins.\tBir.\n")
    found = from_files([path], "en", "tr")
    # A pair that came before counts once; the blank line and the empty German cell do no harm.
    assert found.own == ("One.", "Two.")
    assert found.other == ("Bir.", "İki.")
    assert found.clusters == ("line 2", "line 4")


def test_two_files_line_by_line(tmp_path):
    for name, text in (("a.txt", "One.\nTwo.\n"), ("b.txt", "Bir.\r\nİki.\r\n")):
        (tmp_path / name).write_bytes(text.encode())
    found = from_files([tmp_path / "a.txt", tmp_path / "b.txt"], "en", "tr")
    assert found.own == ("One.", "Two.")
    assert found.other == ("Bir.", "İki.")


def test_files_that_are_not_aligned(tmp_path):
    (tmp_path / "a.txt").write_text("One.\nTwo.\nThree.\n")
    (tmp_path / "b.txt").write_text("Bir.\nİki.\n")
    with pytest.raises(DataError, match=r"b\.txt: found 2 lines; expected 3, as many as .*a\.txt"):
        from_files([tmp_path / "a.txt", tmp_path / "b.txt"], "en", "tr")
    (tmp_path / "b.txt").write_text("Bir.\n\nÜç.\n")
    with pytest.raises(DataError, match=r"b\.txt, line 2: found an empty line"):
        from_files([tmp_path / "a.txt", tmp_path / "b.txt"], "en", "tr")


def test_a_table_with_bad_lines_names_them_all(tmp_path):
    path = tmp_path / "text.tsv"
    path.write_text("en\ttr\nOne.\tBir.\nTwo.\nThree.\t\n")
    with pytest.raises(DataError) as caught:
        from_files([path], "en", "tr")
    assert [problem.line for problem in caught.value.problems] == [3, 4]
    assert "found 1 columns" in str(caught.value)


def test_a_table_of_one_language_only(tmp_path):
    path = tmp_path / "text.tsv"
    path.write_text("en\nOne.\n")
    with pytest.raises(DataError, match=r"line 1: found the columns en; expected one column 'tr'"):
        from_files([path], "en", "tr")


def test_other_numbers_of_files(tmp_path):
    with pytest.raises(ConfigError, match="found 3 files"):
        from_files([tmp_path / name for name in "abc"], "en", "tr")
    with pytest.raises(DataError, match="no such file"):
        from_files([tmp_path / "none.tsv"], "en", "tr")


def test_a_tasks_items_by_id(tmp_path):
    task, split = opened(write_numbers(tmp_path, left_out=frozenset({"i3"})))
    found = from_task(task, split)
    assert len(found.own) == 7
    assert "en number 3" not in found.own
    for own, other in zip(found.own, found.other, strict=True):
        assert own.removeprefix("en") == other.removeprefix("tr")


def test_a_field_that_there_is_not(tmp_path):
    task, split = opened(write_numbers(tmp_path))
    with pytest.raises(ConfigError, match="no field in numbers 'texts'; there is text"):
        from_task(task, split, ["texts"])


def test_a_sample_keeps_the_order_and_the_pairs(tmp_path):
    path = tmp_path / "text.tsv"
    path.write_text("en\ttr\n" + "".join(f"e{n}\tt{n}\n" for n in range(50)))
    found = from_files([path], "en", "tr")
    sample = found.sampled(12, seed=1)
    numbers = [int(text[1:]) for text in sample.own]
    assert len(numbers) == 12
    assert numbers == sorted(numbers)
    assert [f"t{number}" for number in numbers] == list(sample.other)
    assert found.sampled(12, seed=1) == sample != found.sampled(12, seed=2)
    assert found.sampled(99, seed=1) is found


@pytest.mark.parametrize(("name", "fields"), [("xquad", 1), ("xcopa", 3), ("xnli", 2)])
def test_benchmarks_have_sentences(name, fields):
    data = shared_data()
    target = "sw" if name == "xnli" else "tr"
    task = open_task(name, str(data), BenchmarkSettings())
    found = from_task(task, make_split(task, target, seed=1))
    assert len(task.sentence_fields()) == fields
    assert len(found.own) > 200
    assert len(set(found.clusters)) <= len(found.own)
    assert all(text and "\n" not in text for text in (*found.own[:50], *found.other[:50]))
