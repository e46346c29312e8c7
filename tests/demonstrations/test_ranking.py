"""The demonstrations nearest to an item: BM25 by hand, languages, exclusion, ties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from isogloss.demonstrations.choose import Demonstrations, Pool, nearest_set
from isogloss.demonstrations.ranking import K1, B, Bm25, Ranking, character_ngrams
from isogloss.demonstrations.schedule import TrainingBatches
from isogloss.demonstrations.schedule import test_groups as groups_at_test
from isogloss.errors import ConfigError
from isogloss.tasks.example import Example


def item(name: str, language: str, text: str) -> Example:
    return Example(name, language, {"text": text}, ("yes", "no"), ("yes",))


ENGLISH = (item("a", "en", "red cat"), item("b", "en", "blue dog"), item("c", "en", "red dog runs"))
TURKISH = (item("d", "tr", "kedi"), item("e", "tr", "cat kedi"), item("a", "tr", "red kedi"))
ITEMS = (*ENGLISH, *TURKISH)


class Given(Ranking):
    """Scores as they are given."""

    def __init__(self, scores: Sequence[float]) -> None:
        self.items, self.given = ITEMS, scores

    def scores(self, example: Example) -> Sequence[float]:
        return self.given


def pool(scores: Sequence[float]) -> Pool:
    return Pool(ENGLISH, TURKISH, Given(scores))


def names(chosen) -> list[str]:
    return [f"{one.language}/{one.id}" for one in chosen]


def test_bm25_is_the_formula():
    documents = [character_ngrams(one.fields["text"]) for one in ITEMS]
    mean = sum(sum(d.values()) for d in documents) / len(documents)
    query, wanted = item("q", "en", "Red cat"), []
    for document in documents:
        total = 0.0
        for gram in character_ngrams("red cat"):
            holding = sum(gram in one for one in documents)
            inverse = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            count = document[gram]
            norm = 1 - B + B * sum(document.values()) / mean
            total += inverse * count * (K1 + 1) / (count + K1 * norm)
        wanted.append(total)
    found = Bm25(ITEMS).scores(query)
    assert found == pytest.approx(wanted)
    assert max(range(6), key=found.__getitem__) == 0
    assert found[1] == 0


def test_by_hand_for_one_ngram():
    """Two items, one holds the query's only n-gram that is known: the numbers of the formula."""
    items = (item("a", "en", "xy"), item("b", "en", "zw"))
    query = item("q", "en", "x")  # ' x', 'x ', ' x '; the items have ' x' of these
    inverse = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert Bm25(items).scores(query) == pytest.approx([inverse * 2.2 / (1 + 1.2), 0.0])


def test_the_nearest_comes_last():
    chosen = nearest_set(
        pool([5, 4, 3, 2, 1, 0]), Demonstrations(3, "dominant"), ENGLISH[0], excluded=()
    )
    assert names(chosen) == ["en/c", "en/b", "en/a"]


def test_the_target_and_its_translation_are_left_out():
    chosen = nearest_set(pool([9, 1, 2, 3, 4, 8]), Demonstrations(3), ENGLISH[0], excluded={"a"})
    assert names(chosen) == ["en/c", "tr/d", "tr/e"]


def test_mixed_sets_have_both_languages():
    settings = Demonstrations(2)
    assert names(nearest_set(pool([9, 8, 7, 1, 2, 3]), settings, ENGLISH[0], excluded=())) == [
        "tr/a",
        "en/a",
    ]
    assert names(nearest_set(pool([1, 2, 3, 9, 8, 7]), settings, ENGLISH[0], excluded=())) == [
        "en/c",
        "tr/d",
    ]
    one = nearest_set(pool([1, 2, 3, 9, 8, 7]), Demonstrations(1), ENGLISH[0], excluded=())
    assert names(one) == ["tr/d"]


def test_ties_go_by_id_then_language():
    chosen = nearest_set(pool([1] * 6), Demonstrations(3, "mixed"), ENGLISH[1], excluded=())
    assert names(chosen) == ["en/a", "tr/a", "en/b"]
    again = Pool(ENGLISH[::-1], TURKISH[::-1], Bm25(ITEMS[::-1]))
    straight = Pool(ENGLISH, TURKISH, Bm25(ITEMS))
    for one in ITEMS:
        both = [
            names(nearest_set(p, Demonstrations(3), one, excluded={one.id}))
            for p in (straight, again)
        ]
        assert both[0] == both[1]


def test_too_few_are_refused():
    with pytest.raises(
        ConfigError, match="4 demonstrations asked of the target language, but only 3"
    ):
        nearest_set(pool([1] * 6), Demonstrations(4, "target"), ENGLISH[0], excluded=())


def test_every_target_has_a_set_of_its_own_in_training_and_at_test():
    settings = Demonstrations(2, choose="bm25")
    made = Pool(ENGLISH, TURKISH, Bm25(ITEMS))
    source = TrainingBatches(TURKISH, made, settings, batch_size=2, seed=1)
    batches = [source.batch(number) for number in range(source.per_epoch)]
    groups = [group for batch in batches for group in batch]
    assert sorted(one.id for group in groups for one in group.targets) == ["a", "d", "e"]
    for group in groups:
        (target,) = group.targets
        assert target.id not in {one.id for one in group.demonstrations}
        assert group.demonstrations == nearest_set(made, settings, target, excluded={target.id})
    new = (item("n1", "tr", "kedi cat"), item("n2", "tr", "dog"))
    at_test = groups_at_test(new, made, settings, seed=1)
    assert [group.targets for group in at_test] == [(one,) for one in new]
    assert names(at_test[0].demonstrations)[-1] == "tr/e"


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match="choose is 'far'; it must be random, bm25 or encoder"):
        Demonstrations(choose="far")
    with pytest.raises(ConfigError, match="choose 'encoder' and an encoder go together"):
        Demonstrations(choose="encoder")
    with pytest.raises(ConfigError, match="choose 'encoder' and an encoder go together"):
        Demonstrations(encoder="folder")
