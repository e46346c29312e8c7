"""Spans cost their own tokens: a demonstration set is read once, whoever of its items is asked."""

from __future__ import annotations

import pytest

import isogloss
from isogloss import asking
from isogloss.demonstrations.schedule import test_groups as groups_at_test
from isogloss.finished import open_finished
from isogloss.tasks.splits import read_test
from span_task import write_spans


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write_spans(tmp_path_factory.mktemp("spans"))


@pytest.mark.parametrize("sets", [0, 1, 2])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_set_is_read_once_and_texts_stay(
    architecture, sets, task, model_folder, tmp_path, monkeypatch
):
    """Six items: a set of its own each, one for all, and two; in passes of 8, 4 and 1."""
    run = isogloss.train(
        task,
        model=model_folder(architecture),
        target="tr",
        method="icl-mixed",
        demonstrations=3,
        test_sets=sets,
        out=tmp_path,
    )
    kept, passed = [], []
    own_front, own_continued = asking.front_cache, asking.continued

    def front_cache(model, ids):
        kept.append(len(ids))
        return own_front(model, ids)

    def continued(model, sequences, **named):
        passed.append((len(sequences), max(map(len, sequences))))
        return own_continued(model, sequences, **named)

    monkeypatch.setattr(asking, "front_cache", front_cache)
    monkeypatch.setattr(asking, "continued", continued)
    texts = []
    for size in (8, 4, 1):
        del kept[:], passed[:]
        isogloss.evaluate(run, force=True, batch_size=size, max_new_tokens=6)
        texts.append([entry["text"] for entry in run.predictions])
        shared = [group for group in asked_groups(run) if len(group.targets) > 1]
        assert len(kept) == len(shared) == min(sets, 2)
        if sets == 1:
            assert max(longest for _, longest in passed) < kept[0]
        assert sum(count for count, _ in passed) == 6
    assert texts[0] == texts[1] == texts[2]


def asked_groups(run):
    """The groups of the run's test items."""
    opened = open_finished(str(run.folder), model=None, data=None, dtype=None)
    items = read_test(opened.task, "tr", seed=42).examples
    context = opened.method.context
    return groups_at_test(items, opened.pool(context), context, seed=42)
