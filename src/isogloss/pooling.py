"""The training items that demonstrations come from, with a ranking where they are not drawn."""

from __future__ import annotations

from collections.abc import Sequence

from isogloss.demonstrations.choose import Demonstrations, Pool
from isogloss.demonstrations.ranking import Bm25
from isogloss.sentences import EncoderRanking
from isogloss.tasks.example import Example


def make_pool(
    dominant: Sequence[Example], target: Sequence[Example], context: Demonstrations
) -> Pool:
    """The pool for a context.

    Raises:
        ModelError: the sentence encoder asked for cannot be loaded.
    """
    if context.count == 0 or context.choose == "random":
        return Pool(dominant, target)
    items = (*dominant, *target)
    if context.choose == "bm25":
        return Pool(dominant, target, Bm25(items))
    return Pool(dominant, target, EncoderRanking(context.encoder, items))
