"""Table 1: attention on demonstrations against their contribution, beside a slow twin."""

from __future__ import annotations

import itertools

import numpy
import pytest
import torch

from conftest import tiny_loaded
from helpers import encoder_for
from isogloss.alignment.contribution import measure_attention
from isogloss.demonstrations.choose import Group
from isogloss.errors import ConfigError, DataError
from isogloss.tasks.example import Example, Task, Wording

WORDING = Wording("Premise: {text}\nAnswer:")


class Small(Task):
    """A label task in memory."""

    name, kind, metric, dominant, languages = "small", "label", "accuracy", "en", ("en", "tr")

    def read(self, language, split, *, seed):
        raise NotImplementedError

    def parse(self, record, language):
        raise NotImplementedError

    def wording(self, language):
        return WORDING


def item(number: int, language: str = "en", *, answered: bool = True) -> Example:
    text = f"the {'very ' * (number % 4)}old man {number}"
    options = ("neutral", "entailment", "yes no")
    return Example(
        f"i{number}", language, {"text": text}, options, (options[number % 3],) if answered else ()
    )


def groups(count: int = 3) -> list[Group]:
    return [
        Group(
            tuple(item(10 * number + place) for place in range(count)),
            (item(100 + number, "tr"), item(200 + number, "tr")),
        )
        for number in range(2)
    ]


@torch.no_grad()
def log_probability(loaded, encoder, task, shown, target) -> float:
    front = encoder.demonstration_set([task.render(each) for each in shown])
    own = encoder.target(task.render(target), len(shown))
    answer = own.answer[:-1]
    ids = [*front.ids, *own.ids, *answer]
    logits = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    first = len(ids) - len(answer)
    return sum(float(logits[first + at - 1, token]) for at, token in enumerate(answer))


@torch.no_grad()
def attention(model, encoder, task, shown, target) -> tuple[list[float], list[int]]:
    """On each demonstration's tokens, by plain transformers; and how many there are."""
    front = encoder.demonstration_set([task.render(each) for each in shown])
    own = encoder.target(task.render(target), len(shown))
    answer = own.answer[:-1]
    ids = [*front.ids, *own.ids, *answer[:-1]]
    given = model(torch.tensor([ids]), output_attentions=True).attentions
    rows = torch.stack([layer[0, :, -len(answer) :].mean(dim=(0, 1)) for layer in given])
    weights = rows.mean(dim=0)
    spans = list(zip(front.inputs, front.answers, strict=True))
    counted = [
        [n for each in ab for n in range(each.start, each.stop) if n > 0] for ab in spans
    ]  # without the sequence's first token
    return [float(weights[own].sum()) for own in counted], [len(own) for own in counted]


def spearman(x, y) -> float:
    """For values that are all different: 1 - 6 sum d^2 / (n (n^2 - 1))."""
    rank_x, rank_y = numpy.argsort(numpy.argsort(x)), numpy.argsort(numpy.argsort(y))
    count = len(x)
    return 1 - 6 * float(((rank_x - rank_y) ** 2).sum()) / (count * (count**2 - 1))


def twin(loaded, encoder, task, *, cyclic: bool, whole: bool, left_out: bool) -> dict[str, float]:
    eager = tiny_loaded(loaded.name.removeprefix("tiny-"), attention="eager").model
    seen, value = [], []
    for group, target in ((g, t) for g in groups() for t in g.targets):
        demonstrations = group.demonstrations
        count = len(demonstrations)
        turns = range(count) if cyclic else [0]
        a, c = numpy.zeros(count), numpy.zeros(count)
        for turn in turns:
            order = [(turn + place) % count for place in range(count)]
            shown = [demonstrations[place] for place in order]
            sums, tokens = attention(eager, encoder, task, shown, target)
            everything = log_probability(loaded, encoder, task, shown, target)
            for slot, place in enumerate(order):
                a[place] += (sums[slot] if whole else sums[slot] / tokens[slot]) / len(turns)
                rest = shown[:slot] + shown[slot + 1 :]
                less = log_probability(loaded, encoder, task, rest, target)
                c[place] += (everything - less) / len(turns)
        if not left_out:
            none = log_probability(loaded, encoder, task, [], target)
            for place, shown in enumerate(demonstrations):
                c[place] = log_probability(loaded, encoder, task, [shown], target) - none
        seen.append(a)
        value.append(c)
    seen, value = numpy.array(seen), numpy.array(value)
    if not cyclic:
        seen, value = seen - seen.mean(axis=0), value - value.mean(axis=0)
    most = [a[c.argmax()] for a, c in zip(seen, value, strict=True)]
    least = [a[c.argmin()] for a, c in zip(seen, value, strict=True)]
    return {
        "most": float(numpy.mean(most)),
        "least": float(numpy.mean(least)),
        "difference": float(numpy.mean(numpy.subtract(most, least))),
        "above": float(numpy.mean(numpy.greater(most, least))),
        "rank": float(numpy.mean([spearman(a, c) for a, c in zip(seen, value, strict=True)])),
    }


@pytest.mark.parametrize("orders", ["cyclic", "slot-centred"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_as_the_slow_twin(architecture, orders):
    loaded, task = tiny_loaded(architecture), Small()
    encoder = encoder_for(loaded, 0)
    found = measure_attention(
        loaded.model, encoder, task, groups(), orders=orders, batch_size=5, seed=1
    )
    assert (found.targets, found.demonstrations) == (4, 3)
    for whole, left_out in itertools.product((True, False), (True, False)):
        relations = found.leave_one_out if left_out else found.solo
        relation = relations.whole if whole else relations.per_token
        wanted = twin(
            loaded, encoder, task, cyclic=orders == "cyclic", whole=whole, left_out=left_out
        )
        for name, value in wanted.items():
            got = getattr(relation, name)
            assert got.value == pytest.approx(value, abs=1e-5), (name, whole, left_out)
            assert got.low <= got.value <= got.high
            assert got.items == 4


def test_cyclic_orders_do_not_depend_on_the_given_one():
    loaded, task = tiny_loaded("llama"), Small()
    encoder = encoder_for(loaded, 0)
    turned = [
        Group((*group.demonstrations[1:], group.demonstrations[0]), group.targets)
        for group in groups()
    ]
    one, other = (
        measure_attention(loaded.model, encoder, task, given, seed=1)
        for given in (groups(), turned)
    )
    for name in ("most", "least", "difference", "above", "rank"):
        for relations in ("leave_one_out", "solo"):
            first = getattr(getattr(one, relations).whole, name).value
            assert first == pytest.approx(
                getattr(getattr(other, relations).whole, name).value, abs=1e-5
            )
    for mine, theirs in zip(one.slots, other.slots, strict=True):
        assert mine.attention.value == pytest.approx(theirs.attention.value, abs=1e-6)


def test_shares_add_up_over_demonstrations():
    """With two demonstrations the share on one is what the other has not."""
    loaded, task = tiny_loaded("llama"), Small()
    found = measure_attention(loaded.model, encoder_for(loaded, 0), task, groups(2), seed=1)
    share = found.leave_one_out.share
    assert share.most.value + share.least.value == pytest.approx(1, abs=1e-6)


def test_batches_change_nothing():
    loaded, task = tiny_loaded("gemma3"), Small()
    encoder = encoder_for(loaded, 0)
    one, other = (
        measure_attention(loaded.model, encoder, task, groups(), batch_size=size, seed=1)
        for size in (1, 8)
    )
    first, second = one.leave_one_out.whole, other.leave_one_out.whole
    assert first.difference.value == pytest.approx(second.difference.value, abs=1e-6)


def test_one_demonstration_is_refused():
    loaded, task = tiny_loaded("llama"), Small()
    with pytest.raises(ConfigError, match=r"found 1; give the same number to all, 2 or more"):
        measure_attention(loaded.model, encoder_for(loaded, 0), task, groups(1))
    with pytest.raises(ConfigError, match="found 2 and 3"):
        measure_attention(loaded.model, encoder_for(loaded, 0), task, [*groups(2), *groups(3)])
    with pytest.raises(ConfigError, match="found no"):
        measure_attention(loaded.model, encoder_for(loaded, 0), task, [])


def test_a_target_without_an_answer_is_named():
    loaded, task = tiny_loaded("llama"), Small()
    asked = Group(groups()[0].demonstrations, (item(7, "tr", answered=False),))
    with pytest.raises(DataError, match=r"item 'i7' \(tr\): its answer is not known"):
        measure_attention(loaded.model, encoder_for(loaded, 0), task, [asked])
