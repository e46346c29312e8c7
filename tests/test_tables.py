"""Tables: what is bold and marked follows from the tests; failures are said; the formats hold."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from isogloss.errors import DataError, RunError
from isogloss.intervals import holm, seeds_test
from isogloss.outcomes import Failure, Outcome, Place, read_outcome
from isogloss.runs import write_json_file, write_lines
from isogloss.tables import comma_separated, latex, legend, make_table, markdown

ITEMS = 120


def outcome(row, share, *, seed=42, language="tr", items=ITEMS, luck=None) -> Outcome:
    """A system that gets a share of the items right."""
    draw = random.Random(f"{luck or row}/{seed}/{language}")
    values = {f"i{n}": float(draw.random() < share) for n in range(items)}
    place = Place(row, "m", "xcopa", language)
    return Outcome(place, seed, "accuracy", {"accuracy": values}, Path(f"runs/{row}-{seed}"))


def table(*outcomes, **given):
    usual = {"baseline": "MTL", "rivals": ("MTL", "TL"), "order": ("TL", "MTL", "CL-ICP")}
    return make_table("T", outcomes, **(usual | given))


def entry(made, row, language="tr", metric="accuracy"):
    return made.entries[("m", 1.0, row), ("xcopa", language, metric)]


def test_bold_is_a_row_surely_above_all_others():
    made = table(outcome("TL", 0.5), outcome("MTL", 0.5), outcome("CL-ICP", 0.9))
    assert entry(made, "CL-ICP").beats_all
    assert entry(made, "CL-ICP").better
    assert entry(made, "CL-ICP").against < 0.05
    assert "**" in markdown(made).split("CL-ICP |")[1]
    assert not entry(made, "MTL").beats_all
    assert entry(made, "MTL").against is None


def test_a_lead_within_noise_is_not_bold():
    made = table(outcome("TL", 0.5), outcome("MTL", 0.52), outcome("CL-ICP", 0.56))
    assert not any(one.beats_all for one in made.entries.values())
    assert markdown(made).count("**") == 2  # the title


def test_bold_never_says_more_than_the_tests():
    """For random systems: bold exactly where all corrected tests of the best row carry it."""
    draw, bold = random.Random(4), 0
    for case in range(25):
        levels = {row: draw.uniform(0.3, 0.9) for row in ("TL", "MTL", "CL-ICP")}
        outcomes = {row: outcome(row, level, luck=f"{case}{row}") for row, level in levels.items()}
        made = table(*outcomes.values())
        values = {row: one.values["accuracy"] for row, one in outcomes.items()}
        rows = sorted(values)
        # With three rows every pair is compared: to MTL, to the best rival, or to the best row.
        pairs = [(a, b) for n, a in enumerate(rows) for b in rows[n + 1 :]]
        raw = [seeds_test([values[a]], [values[b]], seed=0).p for a, b in pairs]
        best = max(rows, key=lambda row: sum(values[row].values()))
        rival = max(("TL", "MTL"), key=lambda row: sum(values[row].values()))
        compared = [
            place
            for place, pair in enumerate(pairs)
            if "MTL" in pair or best in pair or {"CL-ICP", rival} == set(pair)
        ]
        corrected = dict(zip(compared, holm([raw[place] for place in compared]), strict=True))
        sure = all(p < 0.05 for place, p in corrected.items() if best in pairs[place])
        unique = sum(sum(v.values()) == sum(values[best].values()) for v in values.values()) == 1
        assert entry(made, best).beats_all == (sure and unique)
        assert not any(entry(made, row).beats_all for row in rows if row != best)
        bold += entry(made, best).beats_all
    assert 3 < bold < 23


def test_rows_are_tested_against_the_best_baseline_too():
    made = table(outcome("TL", 0.8), outcome("MTL", 0.4), outcome("CL-ICP", 0.84))
    assert entry(made, "CL-ICP").against < 0.05
    assert entry(made, "CL-ICP").against_best > 0.05
    assert entry(made, "TL").against_best is None


def test_more_tests_correct_more():
    three = table(outcome("TL", 0.5), outcome("MTL", 0.5), outcome("CL-ICP", 0.66))
    more = [outcome(f"row {n}", 0.5) for n in range(12)]
    many = table(outcome("TL", 0.5), outcome("MTL", 0.5), outcome("CL-ICP", 0.66), *more)
    assert entry(many, "CL-ICP").against > entry(three, "CL-ICP").against


def test_seeds_are_put_together_and_counted():
    made = table(*(outcome("MTL", 0.5, seed=seed) for seed in (42, 43, 44)))
    assert entry(made, "MTL").seeds == 3
    assert entry(made, "MTL").interval.items == ITEMS


def test_failures_are_said_with_their_reason():
    failed = Failure(Place("TL", "m", "xcopa", "tr"), 43, "no such data: | & <x>")
    made = table(outcome("MTL", 0.5), failures=[failed])
    assert entry(made, "TL").interval is None
    assert "failed" in made.text(("m", 1.0, "TL"), ("xcopa", "tr", "accuracy"))
    assert legend(made)[-1] == "Failed: TL, xcopa tr, seed 43: no such data: | & <x>"
    assert "failed" in markdown(made)


def test_published_numbers_stand_beside():
    place = (("m", 1.0, "MTL"), ("xcopa", "tr", "accuracy"))
    made = table(outcome("MTL", 0.5), published={place: 65.4})
    assert made.text(*place).endswith(" (65.4)")
    assert made.text(("m", 1.0, "TL"), place[1]) == "-"


def test_other_items_are_refused_by_name():
    with pytest.raises(DataError) as error:
        table(outcome("MTL", 0.5), outcome("TL", 0.5, items=ITEMS - 2))
    said = str(error.value)
    assert "runs/TL-42 and runs/MTL-42 cannot be compared: found 2 test items" in said
    assert "(i118, i119)" in said


def test_rows_and_columns_keep_their_order():
    rows, codes = ("CL-ICP", "MTL", "TL"), ("zh", "tr")
    made = table(*(outcome(row, 0.5, language=code) for row in rows for code in codes))
    assert [row[2] for row in made.rows] == ["TL", "MTL", "CL-ICP"]
    assert [column[1] for column in made.columns] == ["zh", "tr"]


def test_the_formats():
    made = table(outcome("MTL", 0.5), outcome("CL-ICP", 0.95))
    odd = make_table("T", [outcome("a|b_%&", 0.5)], baseline="MTL")
    assert "a\\|b_%&" in markdown(odd)
    assert r"a|b\_\%\&" in latex(odd)
    assert r"\textbf{" in latex(made)
    assert latex(made).count(r"\\") == 3
    rows = list(csv.DictReader(io.StringIO(comma_separated(made))))
    assert {row["row"]: float(row["value"]) for row in rows} == {
        "MTL": entry(made, "MTL").interval.value,
        "CL-ICP": entry(made, "CL-ICP").interval.value,
    }
    assert {row["row"]: row["above all others"] for row in rows}["CL-ICP"] == "True"


def test_an_outcome_is_read_from_its_folder(tmp_path):
    lines = [{"id": "a", "correct": True}, {"id": "b", "correct": False}]
    write_lines(tmp_path / "predictions.jsonl", lines)
    scores = {"items": 2, "metrics": {"accuracy": {}}, "seed": 43, "metric": "accuracy"}
    write_json_file(tmp_path / "scores.json", scores)
    place = Place("MTL", "m", "xcopa", "tr")
    found = read_outcome(place, tmp_path)
    assert (found.seed, found.values) == (43, {"accuracy": {"a": 1.0, "b": 0.0}})
    write_lines(tmp_path / "predictions.jsonl", lines[:1])
    with pytest.raises(RunError, match="found 1 predictions; expected 2, as scores.json says"):
        read_outcome(place, tmp_path)
