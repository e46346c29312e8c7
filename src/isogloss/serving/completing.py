"""Completions: a run's model goes on from any text, its soft prompt in front."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

from isogloss.encoding import Encoder
from isogloss.errors import DataError, TooLong
from isogloss.model.answer import complete, end_ids
from isogloss.predicting import Answerer
from isogloss.serving.waiting import Prompt

BEFORE = 8  # tokens of the prompt that are decoded along, so that spaces between words stay


@dataclass(frozen=True)
class Completion:
    """What the model wrote.

    `prompt_tokens` counts all that stood in front, soft prompt and begin token too.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Opening:
    """A prompt as ids: `ids` are all of them, `text` those of the text alone."""

    prompt: Prompt
    ids: tuple[int, ...]
    text: tuple[int, ...]


@final
class Completer:
    """Completes texts with the model of an answerer: tuned, without demonstrations or shift."""

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self.tokenizer = answerer.loaded.tokenizer
        # Text stands in no chat turn here, so it has a begin token of its own.
        self.encoder: Encoder = dataclasses.replace(answerer.episodes.encoder, chat=False)
        self.front = self.encoder.demonstration_set(()).ids
        self.ends = end_ids(answerer.loaded.model, self.tokenizer)

    def opened(self, prompt: Prompt, number: int) -> Opening:
        """A prompt as ids; `number` counts the request's prompts from 1, for the error.

        Raises:
            TooLong: prompt and completion together are longer than the model's context.
            DataError: there is no token to go on from.
        """
        text = self.encoder.text_ids(prompt.text)
        ids, longest = self.front + text, self.answerer.episodes.longest
        if not ids:
            raise DataError(f"prompt {number} has no token, and nothing stands in front of it")
        if longest is not None and len(ids) + prompt.max_tokens > longest:
            raise TooLong(
                f"prompt {number} has {len(text)} tokens, {len(self.front)} stand in front of it "
                f"and max_tokens is {prompt.max_tokens}: {len(ids) + prompt.max_tokens} in all, "
                f"but at most {longest} fit"
            )
        return Opening(prompt, ids, text)

    def completions(self, openings: Sequence[Opening]) -> list[Completion]:
        """What the model writes after each, `batch_size` of them at a time."""
        if self.answerer.shifter:
            self.answerer.shifter.rest()
        size = self.answerer.how.batch_size
        # Those of like limits together: a batch takes as long as its longest.
        order = sorted(range(len(openings)), key=lambda n: openings[n].prompt.max_tokens)
        found: dict[int, Completion] = {}
        for start in range(0, len(order), size):
            places = order[start : start + size]
            batch = [openings[place] for place in places]
            written = complete(
                self.answerer.loaded.model,
                self.tokenizer,
                [opening.ids for opening in batch],
                limits=[opening.prompt.max_tokens for opening in batch],
                enough=partial(self._enough, batch),
            )
            for place, opening, ids in zip(places, batch, written, strict=True):
                found[place] = self._completion(opening, ids)
        return [found[place] for place in range(len(openings))]

    def _completion(self, opening: Opening, ids: Sequence[int]) -> Completion:
        ended = ids[-1] in self.ends
        text = self._text(opening, ids[:-1] if ended else ids)
        cut = _first(text, opening.prompt.stop)
        return Completion(
            text if cut is None else text[:cut],
            "stop" if ended or cut is not None else "length",
            len(opening.ids),
            len(ids),
        )

    def _enough(self, batch: Sequence[Opening], place: int, ids: tuple[int, ...]) -> bool:
        """Whether a stop text has been written."""
        opening = batch[place]
        stop = opening.prompt.stop
        return bool(stop) and _first(self._text(opening, ids), stop) is not None

    def _text(self, opening: Opening, ids: Sequence[int]) -> str:
        """Ids as the text that follows the prompt."""
        before = opening.text[-BEFORE:]
        lead, both = self._decoded(before), self._decoded((*before, *ids))
        return both[len(lead) :] if both.startswith(lead) else self._decoded(ids)

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )


def _first(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of the stop texts begins.

    >>> _first("a b. c", ("c", ". ")), _first("a b. c", ("d",))
    (3, None)
    """
    places = [text.find(stop) for stop in stops]
    return min((place for place in places if place >= 0), default=None)
