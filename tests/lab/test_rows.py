from __future__ import annotations

from itertools import islice

import pytest
import torch
from transformers import AutoTokenizer

from isogloss.encoding import Encoder
from isogloss.lab.documents import Documents
from isogloss.lab.rows import Rows, collate
from isogloss.lab.tasks import TASKS, TaskSizes, write_task
from isogloss.lab.tokenizer import build_tokenizer, pieces, tokens
from isogloss.lab.world import LABELS, World, WorldSettings
from isogloss.tasks.opening import open_task

SIZES = TaskSizes(dominant_items=12, target_items=4, test_items=4)


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldSettings(seed=1, dial=0.5, suffixes=(False, True), anchors=0.1))


@pytest.fixture(scope="module")
def tokenizer(world: World, tmp_path_factory):
    """The tokenizer as a user loads it from a model's folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(world).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_ids_are_the_tokens_in_their_order(world: World, tokenizer) -> None:
    names = tokens(world)
    assert len(set(names)) == len(names) == len(tokenizer)
    assert tokenizer.convert_ids_to_tokens(list(range(len(names)))) == list(names)
    assert names[:3] == ("<s>", "</s>", "<unk>")
    special = tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token, tokenizer.pad_token
    assert special == ("<s>", "</s>", "<unk>", "</s>")


def test_pieces_are_the_tokens_that_the_tokenizer_cuts(world: World, tokenizer) -> None:
    documents, seen = Documents(world), set()
    for number in range(250):
        text = "".join(piece.whole for piece in islice(documents.pieces(number), 6))
        cut = pieces(text)
        ids = tokenizer(text)["input_ids"]
        assert ids == [0, *tokenizer.convert_tokens_to_ids(cut)]
        assert tokenizer.unk_token_id not in ids
        seen.update(cut)
    assert {"\n\n", "\n", ".", ",", "/", "=", "?"} <= seen


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("a b = c\n\n", ["a", "b", "=", "c", "\n\n"]),
        (" a b .", ["a", "b", "."]),
        ("a .\nb ? =", ["a", ".", "\n", "b", "?", "="]),
        ("a\n\nb", ["a", "\n\n", "b"]),
        ("", []),
    ],
)
def test_how_a_text_is_cut(text: str, cut: list[str]) -> None:
    assert pieces(text) == cut


def test_a_word_of_no_world_is_the_unknown_token(tokenizer) -> None:
    assert tokenizer("qqq red")["input_ids"] == [0, 2, tokenizer.convert_tokens_to_ids("red")]


@pytest.mark.parametrize("length", [1, 7, 60])
def test_a_row_is_the_begin_token_and_its_documents_first_tokens(
    world: World, tokenizer, length: int
) -> None:
    rows = Rows(world, 40, length)
    assert len(rows) == 40
    for number in range(40):
        row = rows[number]
        drawn = islice(Documents(world).pieces(number), length + 1)
        text = "".join(piece.whole for piece in drawn)
        assert row.ids.tolist() == tokenizer(text)["input_ids"][: length + 1]
        assert row.ids[0] == 0
        assert len(row.ids) == len(row.weights) == length + 1


def test_answers_weigh_one_and_all_else_equally_less(world: World) -> None:
    """An answer stands before a blank line: after "=", or as the fourth token of a label item."""
    rows, names = Rows(world, 60, 80), tokens(world)
    answers, others = 0, set()
    for number in range(60):
        row = rows[number]
        words = [names[token] for token in row.ids.tolist()]
        for place, weight in enumerate(row.weights.tolist()):
            labelled = place > 3 and words[place - 2] == "," and words[place] in LABELS
            if place and (words[place - 1] == "=" or labelled):
                assert weight == 1
                answers += 1
            else:
                others.add(round(weight, 6))
    assert answers > 200
    assert len(others) == 1
    assert 0 < others.pop() < 1


def test_collated_rows_stand_below_each_other(world: World) -> None:
    rows = Rows(world, 3, 20)
    batch = collate([rows[0], rows[2]])
    assert batch["input_ids"].shape == batch["weights"].shape == (2, 21)
    assert torch.equal(batch["input_ids"][1], rows[2].ids)
    assert torch.equal(batch["weights"][1], rows[2].weights)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_prompt_of_the_library_is_a_document_to_the_model(
    world: World, tokenizer, tmp_path, task
) -> None:
    write_task(tmp_path, task, world, SIZES)
    opened = open_task(str(tmp_path), None, None)
    solved = [opened.render(each) for each in opened.read("a", "train", seed=0).examples[:3]]
    target = opened.render(opened.read("b", "test", seed=0).examples[0])
    encoder = Encoder(tokenizer, len(tokenizer), 5)
    front, asked = encoder.demonstration_set(solved), encoder.target(target, 3)
    text = "".join(f"{each.input}{each.answer}\n\n" for each in (*solved, target))
    wanted = tokenizer(text)["input_ids"]
    assert wanted[0] == tokenizer.bos_token_id
    assert front.ids[:5] == tuple(range(len(tokenizer), len(tokenizer) + 5))
    assert [*front.ids[5:], *asked.ids, *asked.answer] == wanted
    assert tokenizer.unk_token_id not in wanted
    assert len(asked.answer) == 2, "one word and the end"
    if task.shape != "label":
        before = [front.ids[span.start - 1] for span in front.answers]
        assert tokenizer.convert_ids_to_tokens(before) == ["="] * 3
