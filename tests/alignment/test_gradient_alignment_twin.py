"""Gradient alignment (Eq. 1) against sums over pairs by loops, and against known populations."""

from __future__ import annotations

import itertools
import math

import numpy
import pytest
import torch
from torch import Tensor

from isogloss.alignment.gradient_alignment import aligned, ceiling, excess
from isogloss.alignment.pair_draws import Draws

Key = tuple[str, str]
MEASURES = ("inner", "cosine", "corrected", "pairwise", "translations", "others")


def dot(one, two) -> float:
    return sum(a * b for a, b in zip(one, two, strict=True))


def mean_of(rows):
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


def ratio(terms: list[tuple[float, float]]) -> float | None:
    """The weighted mean of (weight, value) terms; None where nothing weighs."""
    weight = sum(c for c, _ in terms)
    return sum(c * value for c, value in terms) / weight if weight else None


def twin(
    first: Tensor,
    second: Tensor,
    first_keys: list[Key],
    second_keys: list[Key],
    drawn: dict[str, int] | None = None,
) -> dict[str, float | None]:
    """Every measure by loops; `drawn` says how often each item id was drawn (once each)."""
    one, two = first.double().tolist(), second.double().tolist()
    weigh = weights(first_keys, second_keys, drawn)
    inner, cosines = [], {"all": [], "translations": [], "others": []}
    for g, key in zip(one, first_keys, strict=True):
        for h, other in zip(two, second_keys, strict=True):
            if key == other:  # the same item: |g|^2 is no alignment
                continue
            weight = weigh(key, other)
            inner.append((weight, dot(g, h)))
            near = (weight, dot(g, h) / math.sqrt(dot(g, g) * dot(h, h)))
            cosines["all"].append(near)
            cosines["translations" if key[0] == other[0] else "others"].append(near)
    value = ratio(inner)
    norms = within(one, first_keys, weigh), within(two, second_keys, weigh)
    sizes = math.sqrt(norms[0] * norms[1])
    if drawn is None:  # then the norms are those of the mean gradients
        means = [mean_of(rows) for rows in (one, two)]
        assert sizes == pytest.approx(math.sqrt(dot(means[0], means[0]) * dot(means[1], means[1])))
    freed = within(one, first_keys, weigh, own=False), within(two, second_keys, weigh, own=False)
    ends = None in (value, *freed)
    return {
        "inner": value,
        "cosine": None if value is None else value / sizes,
        "corrected": None if ends else value / math.sqrt(freed[0] * freed[1]),
        "pairwise": ratio(cosines["all"]),
        "translations": ratio(cosines["translations"]),
        "others": ratio(cosines["others"]),
    }


def weights(first_keys, second_keys, drawn):
    """What a pair weighs: copies of one draw meet each other only, and ids of one pool meet
    n / (n - 1) times as often as drawn, so that every pair weighs 1 on average.
    """
    own, other = ({key[0] for key in keys} for keys in (first_keys, second_keys))
    pools = [own & other, own - other, other - own]

    def weigh(one, two):
        if drawn is None:
            return 1
        if one[0] == two[0]:
            return drawn[one[0]]
        for pool in pools:
            if one[0] in pool and two[0] in pool:
                return drawn[one[0]] * drawn[two[0]] * len(pool) / (len(pool) - 1)
        return drawn[one[0]] * drawn[two[0]]

    return weigh


def within(rows, named, weigh, *, own=True) -> float | None:
    """The mean of g_i . g_j over all i and j, |gbar|^2, or over i != j, U."""
    pairs = itertools.product(range(len(rows)), repeat=2)
    return ratio(
        [(weigh(named[i], named[j]), dot(rows[i], rows[j])) for i, j in pairs if own or i != j]
    )


def keys(language: str, numbers) -> list[Key]:
    return [(f"i{number}", language) for number in numbers]


def noisy(mean: Tensor, count: int, source: torch.Generator, noise: float = 1.0) -> Tensor:
    return mean + noise * torch.randn(count, len(mean), generator=source)


def sides(*, seed: int = 0, count: int = 7) -> tuple[Tensor, Tensor, list[Key], list[Key]]:
    """D_s and D_t with translations, and the mixed D_train = [D_s, D_t]: some items the same."""
    source = torch.Generator().manual_seed(seed)
    mean = 2 * torch.randn(9, generator=source)
    english = noisy(mean, count, source)
    turkish = noisy(mean + torch.randn(9, generator=source), count, source)
    first = torch.cat([english, turkish[2:5]])
    first_keys = keys("en", range(count)) + keys("tr", range(2, 5))
    # In B the items stand in another order, and two are in B alone.
    order = torch.randperm(count, generator=source)
    second_keys = [(f"i{n + 1}", "tr") if n + 1 in (2, 3, 4) else (f"i{n + 3}", "tr")
                   for n in range(count)]  # fmt: skip
    second_keys = [second_keys[n] for n in order.tolist()]
    second = noisy(mean, count, source)
    for place, key in enumerate(second_keys):
        if key in first_keys:
            second[place] = first[first_keys.index(key)]
    return first, second, first_keys, second_keys


def values(found) -> dict[str, float | None]:
    got = {name: getattr(found, name) for name in MEASURES}
    return {name: None if one is None else one.value for name, one in got.items()}


def check(found, wanted: dict[str, float | None]) -> None:
    for name, value in values(found).items():
        if wanted[name] is None:
            assert value is None, name
        else:
            assert value == pytest.approx(wanted[name], rel=1e-5, abs=1e-6), name


# --- by hand ---

FIRST = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
SECOND = torch.tensor([[3.0, 4.0], [1.0, 0.0]])


def test_by_hand():
    """Pairs (x,x) 3, (x,y) 1, (y,x) 8, (y,y) 0: the mean is 3 = (.5, 1) . (2, 2)."""
    cosine = 3 / math.sqrt(1.25 * 8)
    wanted = {
        "inner": 3.0,
        "cosine": cosine,
        "pairwise": (0.6 + 1 + 0.8 + 0) / 4,
        "translations": (0.6 + 0) / 2,
        "others": (1 + 0.8) / 2,
    }
    # U_A = (1, 0) . (0, 2) = 0 here, so `corrected` has no value: a third item in A gives it one.
    first = torch.cat([FIRST, torch.tensor([[2.0, 2.0]])])
    three = twin(first, SECOND, keys("en", "xyz"), keys("tr", "xy"))
    # U_A = (0 + 2 + 4) / 3 = 2, U_B = 3; inner = (3 + 1 + 8 + 0 + 14 + 2) / 6.
    assert three["inner"] == pytest.approx(28 / 6)
    assert three["corrected"] == pytest.approx(28 / 6 / math.sqrt(2 * 3))
    found = aligned(first, SECOND, keys("en", "xyz"), keys("tr", "xy"), seed=1, resamples=20)
    check(found, three)
    found = aligned(FIRST + 0.0, SECOND, keys("en", "xy"), keys("tr", "xy"), seed=1, resamples=20)
    for name, value in wanted.items():
        assert values(found)[name] == pytest.approx(value, rel=1e-6), name


def test_the_same_item_never_counts_by_hand():
    """A holds B's own item (x, tr): three of four pairs are left, and |g|^2 = 25 is not."""
    first = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    first_keys = [("ix", "tr"), ("iy", "en")]
    found = aligned(first, SECOND, first_keys, keys("tr", "xy"), seed=1, resamples=20)
    # (x,tr).(y,tr) = 3, (y,en).(x,tr) = 8, (y,en).(y,tr) = 0
    assert found.inner.value == pytest.approx(11 / 3)
    assert found.pairwise.value == pytest.approx((0.6 + 0.8 + 0) / 3)
    assert found.translations.value == pytest.approx(0.0, abs=1e-7)
    assert found.others.value == pytest.approx((0.6 + 0.8) / 2)


# --- the twin ---


@pytest.mark.parametrize("seed", range(4))
def test_is_the_twin(seed):
    given = sides(seed=seed)
    wanted = twin(*given)
    assert None not in wanted.values()
    assert len({round(value, 4) for value in wanted.values()}) == 6, "six different measures"
    found = aligned(*given, seed=1, resamples=50)
    check(found, wanted)
    for name in MEASURES:
        one = getattr(found, name)
        assert one.low <= one.high


def test_the_order_of_items_changes_nothing():
    first, second, first_keys, second_keys = sides()
    flipped = (first.flip(0), second.flip(0), first_keys[::-1], second_keys[::-1])
    check(aligned(*flipped, seed=1, resamples=20), twin(first, second, first_keys, second_keys))


def test_what_scale_changes():
    first, second, *named = sides()
    plain = values(aligned(first, second, *named, seed=1, resamples=20))
    scaled = values(aligned(3 * first, 0.5 * second, *named, seed=1, resamples=20))
    assert scaled.pop("inner") == pytest.approx(1.5 * plain.pop("inner"), rel=1e-5)
    assert scaled == pytest.approx(plain, rel=1e-5)
    stretch = torch.linspace(0.5, 4, len(first))[:, None]
    uneven = values(aligned(stretch * first, second, *named, seed=1, resamples=20))
    for name in ("pairwise", "translations", "others"):
        assert uneven[name] == pytest.approx(plain[name], rel=1e-5)


def test_tiny_gradients_are_not_lost():
    first, second, *named = sides()
    wanted = twin(first, second, *named)
    found = values(aligned(1e-12 * first, 1e-12 * second, *named, seed=1, resamples=20))
    for name in MEASURES[1:]:
        assert found[name] == pytest.approx(wanted[name], rel=1e-4), name


def test_a_set_with_itself_is_freed_of_the_bias():
    """Then inner = U and `corrected` is 1, while |gbar|^2 is larger by variance / n."""
    source = torch.Generator().manual_seed(3)
    rows = noisy(torch.ones(6), 8, source)
    named = keys("tr", range(8))
    found = aligned(rows, rows, named, named, seed=1, resamples=50)
    check(found, twin(rows, rows, named, named))
    assert found.corrected.value == pytest.approx(1.0, rel=1e-6)
    assert found.inner.value < float(rows.mean(0).square().sum())
    assert found.cosine.value < 0.999
    assert found.translations is None


def test_without_translations_and_without_others():
    source = torch.Generator().manual_seed(3)
    first, second = noisy(torch.ones(6), 6, source), noisy(torch.ones(6), 6, source)
    apart = aligned(
        first, second, keys("en", range(6)), keys("tr", range(6, 12)), seed=1, resamples=50
    )
    assert apart.translations is None
    assert apart.others.value == pytest.approx(apart.pairwise.value)
    one = aligned(
        first[:2], second[:2], [("x", "en"), ("x", "de")], [("x", "tr"), ("x", "sw")],
        seed=1, resamples=50,
    )  # fmt: skip
    assert one.others is None
    assert one.translations.value == pytest.approx(one.pairwise.value)


def test_the_same_text_of_id_in_another_language_is_a_translation_only():
    """Ids and languages together name an item: (x, en) against (x, tr) counts."""
    found = aligned(
        FIRST[:1].repeat(2, 1), FIRST[:1].repeat(2, 1), keys("en", "xy"), keys("tr", "xy"),
        seed=1, resamples=20,
    )  # fmt: skip
    assert found.inner.value == pytest.approx(1.0)
    assert found.pairwise.value == pytest.approx(1.0)


# --- known populations ---


def test_inner_has_no_bias_under_noise():
    """A set with itself: |mu|^2, where |gbar|^2 would say |mu|^2 + variance / n."""
    source = torch.Generator().manual_seed(5)
    mean = torch.full((10,), 0.5)
    named = keys("tr", range(5))
    found, naive = [], []
    for _ in range(250):
        rows = noisy(mean, 5, source)
        found.append(aligned(rows, rows, named, named, seed=1, resamples=2).inner.value)
        naive.append(float(rows.mean(0).square().sum()))
    error = numpy.std(found) / math.sqrt(len(found))
    assert numpy.mean(found) == pytest.approx(2.5, abs=4 * error)
    assert numpy.mean(naive) > 2.5 + 8 * error, "the bias would show"


def test_corrected_is_the_cosine_of_the_true_means():
    """Noise drowns `cosine` and does not move `corrected`."""
    source = torch.Generator().manual_seed(6)
    one = torch.zeros(40)
    two = torch.zeros(40)
    one[0], two[0], two[1] = 2.0, 1.2, 1.6  # the true cosine is .6
    found = [
        aligned(
            noisy(one, 40, source), noisy(two, 40, source), keys("en", range(40)),
            keys("tr", range(40)), seed=1, resamples=2,
        )
        for _ in range(150)
    ]  # fmt: skip
    corrected = [one.corrected.value for one in found]
    error = numpy.std(corrected) / math.sqrt(len(corrected))
    assert numpy.mean(corrected) == pytest.approx(0.6, abs=4 * error + 0.003)
    assert numpy.mean([one.cosine.value for one in found]) < 0.6 - 8 * error


def test_intervals_are_those_of_a_bootstrap_over_item_ids():
    """Noise that a translation shares: drawn apart in A and B, intervals would be 30% narrower."""
    source = torch.Generator().manual_seed(7)
    mean, count = torch.full((8,), 1.5), 24
    shared = torch.randn(count, 8, generator=source)
    first = mean + shared + 0.1 * torch.randn(count, 8, generator=source)
    second = mean + shared + 0.1 * torch.randn(count, 8, generator=source)
    order = torch.randperm(count, generator=source).tolist()
    named = keys("en", range(count)), keys("tr", order)
    second = second[order]
    draws = numpy.random.default_rng(8)
    resampled = {name: [] for name in MEASURES}
    for _ in range(200):
        ids = draws.integers(count, size=count)
        drawn = {f"i{n}": int((ids == n).sum()) for n in range(count)}
        for name, value in twin(first, second, *named, drawn).items():
            resampled[name].append(max(-1.0, min(1.0, value)) if name == "cosine" else value)
    found = aligned(first, second, *named, seed=1, resamples=2000)
    for name in MEASURES:
        one, twins = getattr(found, name), numpy.array(resampled[name])
        low, high = numpy.quantile(twins, [0.025, 0.975])
        # An end of 200 draws has a standard error near 0.15 of their spread.
        slack = 0.5 * twins.std()
        assert abs(one.low - low) < slack, name
        assert abs(one.high - high) < slack, name
        assert one.high - one.low == pytest.approx(high - low, rel=0.2), name


def test_every_pair_weighs_in_a_draw_what_it_weighs_in_the_data():
    """On average; two of four ids are of both sets, two of A alone, one of B alone."""
    first = [("x", "en"), ("y", "en"), ("y", "tr"), ("a", "en"), ("b", "en")]
    second = [("y", "tr"), ("x", "tr"), ("c", "tr")]
    draws = Draws.of(first, second, seed=3, resamples=40_000)
    for left, right in itertools.product((0, 1), repeat=2):
        sides = (first, second)[left], (first, second)[right]
        for i, j in itertools.product(range(len(sides[0])), range(len(sides[1]))):
            one = numpy.zeros((len(sides[0]), len(sides[1])))
            one[i, j] = 1.0
            found = draws.sums(one, left, right)
            error = found.std() / math.sqrt(len(found))
            assert found.mean() == pytest.approx(1.0, abs=4.5 * error + 1e-9), (i, j)


def test_few_items_intervals_hold_their_numbers():
    """Only translations are alike: 1 pair of 8, where pairs weighed by w * w would say 2 of 9."""
    rows = torch.eye(8)
    found = aligned(rows, rows.clone(), keys("en", range(8)), keys("tr", range(8)), seed=1)
    assert found.pairwise.value == pytest.approx(1 / 8)
    assert found.pairwise.low == pytest.approx(0.12, abs=0.01)
    assert found.pairwise.high == pytest.approx(0.16, abs=0.02)
    for name in ("inner", "cosine", "pairwise"):
        one = getattr(found, name)
        assert one.low <= one.value <= one.high, name


def test_a_cosine_s_interval_is_one_of_cosines():
    """Gradients that are noise alone: a draw's freed norms come near 0."""
    for seed in range(5):
        source = torch.Generator().manual_seed(seed)
        first, second, shuffled = (torch.randn(8, 30, generator=source) for _ in range(3))
        named = keys("en", range(8)), keys("tr", range(8))
        one = aligned(first, second, *named, seed=1, resamples=500).cosine
        assert -1 <= one.low < one.high <= 1
        over = excess(first, second, shuffled, *named, seed=1, resamples=500)
        assert -2 <= over.low < over.high <= 2


def test_intervals_cover_the_truth():
    """95% intervals of mu_A . mu_B: of 50 samples' intervals at least 42 hold it."""
    source = torch.Generator().manual_seed(9)
    one, two = torch.full((12,), 0.6), torch.linspace(0.2, 1.0, 12)
    truth = float(one @ two)
    named = keys("en", range(40)), keys("tr", range(40))
    held = {"inner": 0, "narrow": 0}
    for number in range(50):
        first, second = noisy(one, 40, source), noisy(two, 40, source)
        inner = aligned(first, second, *named, seed=number, resamples=200).inner
        held["inner"] += inner.low <= truth <= inner.high
        held["narrow"] += inner.high - inner.low < 3.0
    assert held["inner"] >= 42
    assert held["narrow"] == 50, "and not because they hold everything"


def test_few_items_give_numbers():
    """Of three ids one resample in nine is one id alone, with no pairs within A: left out."""
    source = torch.Generator().manual_seed(10)
    first, second = noisy(torch.full((6,), 3.0), 3, source), noisy(torch.full((6,), 3.0), 3, source)
    found = aligned(first, second, keys("en", range(3)), keys("tr", range(3)), seed=1)
    for name in MEASURES:
        one = getattr(found, name)
        assert math.isfinite(one.low), name
        assert math.isfinite(one.high), name
        assert one.low <= one.value <= one.high or name == "corrected", name


def test_intervals_come_from_the_seed():
    given = sides()

    def ends(seed):
        found = aligned(*given, seed=seed, resamples=200)
        return [(getattr(found, name).low, getattr(found, name).high) for name in MEASURES]

    assert ends(1) == ends(1)
    assert ends(1) != ends(2)
    check(aligned(*given, seed=2, resamples=200), twin(*given))


# --- the ceiling ---


def test_ceiling_by_hand():
    """Four items have three splits in halves."""
    rows = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    splits = []
    for half in ((0, 1), (0, 2), (0, 3)):
        rest = [n for n in range(4) if n not in half]
        one, two = rows[list(half)].mean(0).tolist(), rows[rest].mean(0).tolist()
        splits.append(dot(one, two) / math.sqrt(dot(one, one) * dot(two, two)))
    # (2,1,0).(3,2,2) = 8 of sqrt(5 * 17), and so on.
    assert splits[0] == pytest.approx(8 / math.sqrt(85))
    half = numpy.mean(splits)
    error = numpy.std(splits) / math.sqrt(2000)
    assert ceiling(rows, rows, seed=1, splits=2000) == pytest.approx(
        2 * half / (1 + half), abs=4.5 * error
    )
    # Equal items have no noise, so what is left is the root of the noisy set's reliability.
    assert ceiling(rows, torch.ones(4, 3), seed=1, splits=2000) == pytest.approx(
        math.sqrt(2 * half / (1 + half)), abs=4.5 * error
    )


@pytest.mark.parametrize("count", [2, 5, 8])
def test_ceiling_of_equal_and_of_unrelated_items(count):
    """Halves have no item in common, or unrelated items would look alike."""
    assert ceiling(torch.ones(count, 3), torch.ones(count, 3), seed=1) == pytest.approx(1.0)
    assert ceiling(torch.eye(count), torch.ones(count, 3), seed=1) == pytest.approx(0.0, abs=1e-3)


def test_halves_that_point_apart_have_a_ceiling_of_0():
    apart = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert ceiling(apart, apart, seed=1) == 0.0


def test_the_ceiling_is_the_cosine_of_two_noisy_sets_of_one_mean():
    source = torch.Generator().manual_seed(11)
    mean = torch.full((30,), 0.4)
    cosines, ceilings = [], []
    for number in range(60):
        first, second = noisy(mean, 12, source), noisy(mean, 20, source)
        named = keys("en", range(12)), keys("tr", range(50, 70))
        cosines.append(aligned(first, second, *named, seed=number, resamples=2).cosine.value)
        ceilings.append(ceiling(first, second, seed=number))
    error = numpy.std(cosines) / math.sqrt(len(cosines))
    assert numpy.mean(ceilings) == pytest.approx(numpy.mean(cosines), abs=4 * error)
    assert numpy.mean(cosines) < 0.9, "and noise there was"


def test_ceiling_comes_from_the_seed_and_not_from_scale():
    rows = noisy(torch.ones(5), 12, torch.Generator().manual_seed(4))
    assert ceiling(rows, rows, seed=1) == ceiling(rows, rows, seed=1)
    assert ceiling(rows, rows, seed=1) != ceiling(rows, rows, seed=2)
    assert ceiling(1e-9 * rows, rows, seed=1) == pytest.approx(
        ceiling(rows, rows, seed=1), rel=1e-5
    )
