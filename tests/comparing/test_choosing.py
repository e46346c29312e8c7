"""The recommended method: by hand-made held-out scores and tests, in every case there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from isogloss.comparing.choosing import held_out_scores, recommend
from isogloss.intervals import PairedTest
from isogloss.judging import HeldOut
from isogloss.reporting.comparisons import Column, Comparison, Line
from isogloss.runs import Run

BY = "2-fold cross-validation on the 2 items of D_t"


def held(*values: float, losses: tuple[float, ...] = ()) -> HeldOut:
    losses = losses or tuple(1.0 for _ in values)
    by_id = [{f"i{number}": one for number, one in enumerate(each)} for each in (values, losses)]
    return HeldOut(BY, *by_id)


def judged(**methods: dict[int, HeldOut]):
    return {
        name.replace("_", "-"): {
            seed: (Run(Path(f"{name}-{seed}")), one) for seed, one in found.items()
        }
        for name, found in methods.items()
    }


def test_of(difference: float, adjusted: float) -> Comparison:
    column = Column("task", "tr", "accuracy")
    test = PairedTest(difference, difference - 0.1, difference + 0.1, adjusted, "exact", 10)
    return Comparison("baseline", column, Line("m", "x"), Line("m", "zero-shot"), test, adjusted)


test_of.__test__ = False


def test_scores_are_means_over_items_then_over_the_seeds_that_all_have():
    scores = held_out_scores(
        judged(
            mtl={1: held(1, 0, losses=(0.5, 1.5)), 2: held(1, 1), 3: held(0, 0)},
            ft={1: held(0, 0), 2: held(1, 0, losses=(3, 5))},
        )
    )
    assert (scores["mtl"].value, scores["mtl"].seeds, scores["mtl"].items) == (0.75, (1, 2), 2)
    assert scores["mtl"].loss == 1.0
    assert (scores["ft"].value, scores["ft"].loss) == (0.25, 2.5)
    alone = held_out_scores(judged(mtl={1: held(1, 0)}, ft={2: held(1, 1)}))
    assert {name: (one.value, one.seeds) for name, one in alone.items()} == {
        "mtl": (0.5, (1,)),
        "ft": (1.0, (2,)),
    }


def test_of_equal_scores_the_least_loss_is_taken_then_the_first():
    equal = judged(a={1: held(1, 0, losses=(1, 1))}, b={1: held(0, 1, losses=(0.5, 0.5))})
    assert recommend(equal, "accuracy", {}).method == "b"
    same = judged(a={1: held(1, 0)}, b={1: held(0, 1)})
    assert recommend(same, "accuracy", {}).method == "a"
    spans = {"a": {1: (Run(Path("a")), HeldOut(BY, {"i": 0.5}, {}))}} | {
        "b": {1: (Run(Path("b")), HeldOut(BY, {"i": 0.6}, {}))}
    }
    assert recommend(spans, "f1", {}).method == "b"


def test_of_the_best_method_the_best_seed_is_taken():
    found = recommend(judged(mtl={1: held(1, 0), 2: held(1, 1), 3: held(1, 1)}), "accuracy", {})
    assert (found.seed, found.run.folder) == (2, Path("mtl-2"))


def test_nothing_is_recommended_of_nothing():
    assert recommend({}, "accuracy", {}) is None


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        (
            {"mtl": test_of(0.25, 0.01), "ft": test_of(0.1, 0.4)},
            "mtl: the best of 3 methods by {by} (accuracy 1.000, 1 seed); on the test items it is "
            "0.250 [0.150, 0.350] above zero-shot (p = 0.01 after Holm's correction).",
        ),
        (
            {"mtl": test_of(-0.05, 0.9), "ft": test_of(0.1, 0.4)},
            "No method beats zero-shot by more than noise: mtl is the best of 3 methods by {by} "
            "(accuracy 1.000, 1 seed), and on the test items it is 0.050 [-0.050, 0.150] below "
            "zero-shot (p = 0.9 after Holm's correction).",
        ),
        (
            {"mtl": test_of(0.05, 0.9), "ft": test_of(0.3, 0.01)},
            "mtl: the best of 3 methods by {by} (accuracy 1.000, 1 seed), but on the test items it "
            "does not beat zero-shot by more than noise (0.050 [-0.050, 0.150] above zero-shot "
            "(p = 0.9 after Holm's correction)); ft would, and yet test items must not choose.",
        ),
        (
            {},
            "mtl: the best of 3 methods by {by} (accuracy 1.000, 1 seed); there is no zero-shot "
            "score on the test items to set it against.",
        ),
    ],
)
def test_the_sentence_says_what_the_test_items_carry(tests, why):
    found = judged(zero_shot={1: held(0, 0)}, ft={1: held(1, 0)}, mtl={1: held(1, 1)})
    assert recommend(found, "accuracy", tests).why == why.format(by=BY)


def test_zero_shot_itself_may_be_the_best():
    found = recommend(judged(zero_shot={1: held(1, 1)}, mtl={1: held(1, 0)}), "accuracy", {})
    assert found.method == "zero-shot"
    assert found.why == (
        f"No method beats zero-shot: it is the best of 2 methods by {BY} (accuracy 1.000, 1 seed), "
        "so nothing needs to be trained."
    )


def test_a_run_that_came_to_no_numbers_has_no_loss_to_rank_it_by():
    broken = HeldOut(BY, {"i0": 1.0, "i1": 0.0}, {"i0": 0.1})
    found = judged(a={1: broken}, b={1: held(1, 0, losses=(5, 5))})
    assert held_out_scores(found)["a"].loss is None
    assert recommend(found, "accuracy", {}).method == "b"
