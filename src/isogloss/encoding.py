"""Prompted text to token ids with spans (Section 5.2): made once here, never parsed again.

A sequence is {p, x_d1, y_d1, ..., x_dk, y_dk, x_t, y_t}. Its first part, up to x_dk's answer, is an
`EncodedSet`, which many targets may share; the rest is an `EncodedTarget`. Text is tokenised
piece by piece, so every span ends at a token boundary and a set's ids never depend on the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from transformers import PreTrainedTokenizerBase

from isogloss.errors import DataError, ModelError
from isogloss.tasks.example import Rendered

KEPT_PIECES = 16384  # encoded pieces that are remembered: what answers for weeks must not grow
SEPARATOR = "\n\n"  # between solved examples; its first token ends an answer


@dataclass(frozen=True)
class Span:
    """Tokens `start` to `stop` (exclusive)."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class EncodedSet:
    """The shared front of an episode: soft prompt, begin token and solved demonstrations.

    `ids` are token ids, those of the m soft-prompt vectors being V, V+1, ... (V: rows of the
    model's embedding). Spans count from the first id. An answer's span covers the answer and the
    one token that ends it. `languages`: the demonstrations' codes.
    """

    ids: tuple[int, ...]
    prompt: Span
    inputs: tuple[Span, ...]
    answers: tuple[Span, ...]
    languages: tuple[str, ...]


@dataclass(frozen=True)
class EncodedTarget:
    """A target sample: `ids` up to its answer, the right answer with its end token, the options.

    `input` is the span of x_t within `ids`, without the chat template's own tokens. `answer` is
    empty where the answer is not known. `options` have no end token.
    """

    id: str
    language: str
    ids: tuple[int, ...]
    input: Span
    answer: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Frame:
    """What the chat template (or nothing, in plain text) puts around one sample's pieces."""

    before: str
    between: str
    after: str


@final
@dataclass(frozen=True)
class Encoder:
    """Turns rendered samples into ids and spans for one tokenizer.

    `prompt_length` is m, `vocabulary` is V. With `chat`, demonstrations become turns through the
    tokenizer's chat template; plain text is the default. `solved` demonstrations stand inside the
    prompt already, begin token included, and a sequence goes on from them.
    """

    tokenizer: PreTrainedTokenizerBase
    vocabulary: int
    prompt_length: int = 0
    chat: bool = False
    solved: int = 0
    _pieces: dict[tuple[str, bool], tuple[int, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _frames: dict[int, tuple[Frame, ...]] = field(default_factory=dict, repr=False, compare=False)

    def demonstration_set(self, demonstrations: Sequence[Rendered]) -> EncodedSet:
        """Soft prompt, begin token and the solved demonstrations.

        Raises:
            DataError: a demonstration without an answer token, naming the item.
        """
        ids = list(range(self.vocabulary, self.vocabulary + self.prompt_length))
        prompt = Span(0, len(ids))
        ids += self._begin()
        inputs, answers = [], []
        frames = self._frames_for(self.solved + len(demonstrations))[self.solved :]
        for sample, frame in zip(demonstrations, frames, strict=False):
            ids += self._frame(frame.before)
            inputs.append(_extend(ids, self._content(sample.input)))
            ids += self._frame(frame.between)
            answers.append(_extend(ids, self._answer(sample, sample.answer, frame)))
            ids += self._frame(frame.after)[1:]
        languages = tuple(sample.language for sample in demonstrations)
        return EncodedSet(tuple(ids), prompt, tuple(inputs), tuple(answers), languages)

    def target(self, sample: Rendered, demonstrations: int) -> EncodedTarget:
        """A target sample that follows `demonstrations` solved ones.

        Raises:
            DataError: an answer or option without a token, naming the item.
        """
        frame = self._frames_for(self.solved + demonstrations)[-1]
        ids = list(self._frame(frame.before))
        span = _extend(ids, self._content(sample.input))
        ids += self._frame(frame.between)
        answer = self._answer(sample, sample.answer, frame) if sample.answer else ()
        options = tuple(self._answer(sample, text, frame)[:-1] for text in sample.options)
        return EncodedTarget(sample.id, sample.language, tuple(ids), span, answer, options)

    def text(self, demonstrations: Sequence[Rendered], target: Rendered | None = None) -> str:
        """What these samples' ids spell, control tokens by their names: without the soft prompt.

        Without a target it is the text of the demonstrations, begin token included.
        """
        frames = self._frames_for(self.solved + len(demonstrations))[self.solved :]
        text = str(self.tokenizer.bos_token) if self._begin() else ""
        for sample, frame in zip(demonstrations, frames, strict=False):
            answer = sample.answer.strip() if self.chat else sample.answer
            text += frame.before + sample.input + frame.between + answer
            text += frame.after if self._piece(frame.after, special=True) else self._ended()[0]
        if target is not None:
            text += frames[-1].before + target.input + frames[-1].between
        return text

    @property
    def end(self) -> int:
        """The token that ends an answer."""
        return self._frame(self._frames_for(0)[0].after)[0]

    def text_ids(self, text: str) -> tuple[int, ...]:
        """The ids of plain text as it stands inside a sequence."""
        return self._content(text)

    def _answer(self, sample: Rendered, text: str, frame: Frame) -> tuple[int, ...]:
        ids = self._content(text.strip() if self.chat else text)
        if not ids:
            raise DataError(
                f"item '{sample.id}' ({sample.language}): its answer {text!r} has no token in this "
                "model's tokenizer; an answer needs at least one"
            )
        return ids + self._frame(frame.after)[:1]

    def _begin(self) -> tuple[int, ...]:
        """The begin token, where this tokenizer puts one in front of plain text."""
        if self.chat or self.solved:
            return ()
        begin = self.tokenizer.bos_token_id
        natural = self.tokenizer("a")["input_ids"]
        return (begin,) if begin is not None and natural and natural[0] == begin else ()

    def _content(self, text: str) -> tuple[int, ...]:
        return self._piece(text, special=False)

    def _frame(self, text: str) -> tuple[int, ...]:
        ids = self._piece(text, special=True)
        if text == SEPARATOR and not ids:  # a word-level tokenizer may drop blank lines
            return (self._ended()[1],)
        return ids

    def _ended(self) -> tuple[str, int]:
        """The end token's name and id, for where a blank line has no token."""
        end = self.tokenizer.eos_token_id
        if end is None:
            raise ModelError("this tokenizer has no token for a blank line and no end token")
        return str(self.tokenizer.eos_token), int(end)

    def _piece(self, text: str, *, special: bool) -> tuple[int, ...]:
        key = (text, special)
        if key not in self._pieces:
            if len(self._pieces) >= KEPT_PIECES:
                del self._pieces[next(iter(self._pieces))]
            self._pieces[key] = _inside_ids(self.tokenizer, text, special=special)
        return self._pieces[key]

    def _frames_for(self, demonstrations: int) -> tuple[Frame, ...]:
        """The frames of `demonstrations` solved samples and of the target after them."""
        if not self.chat:
            return (Frame("", "", SEPARATOR),) * (demonstrations + 1)
        if demonstrations not in self._frames:
            self._frames[demonstrations] = _chat_frames(self.tokenizer, demonstrations)
        return self._frames[demonstrations]


def _extend(ids: list[int], piece: Sequence[int]) -> Span:
    start = len(ids)
    ids += piece
    return Span(start, len(ids))


def _inside_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> tuple[int, ...]:
    """The ids of `text` as it would stand after other text.

    A tokenizer may put a space mark or begin token in front of the first word of what it is
    given; a short anchor before the text takes that, and is cut off again. Text of the data
    (`special=False`) never becomes a control token, whatever it spells.
    """
    if not text:
        return ()
    for anchor in ("\n", "a", ":"):
        alone = _ids(tokenizer, anchor, special)
        both = _ids(tokenizer, anchor + text, special)
        if alone and both[: len(alone)] == alone:
            return tuple(both[len(alone) :])
    return tuple(_ids(tokenizer, text, special))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> list[int]:
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=not special)
    return list(encoded["input_ids"])


def _chat_frames(tokenizer: PreTrainedTokenizerBase, demonstrations: int) -> tuple[Frame, ...]:
    """What the chat template writes around k solved turns and an open one.

    The template is rendered once with marks in the place of the texts and cut at the marks, so
    spans are exact whatever the template does.
    """
    marks = [(f"[[x{number}]]", f"[[y{number}]]") for number in range(demonstrations + 1)]
    messages = []
    for asked, answered in marks:
        messages += [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answered},
        ]
    try:
        text = tokenizer.apply_chat_template(
            messages[:-1], tokenize=False, add_generation_prompt=True
        )
        closed = tokenizer.apply_chat_template(messages, tokenize=False)
    except ValueError as error:
        raise ModelError(
            f"--chat needs a tokenizer with a chat template ({error}); "
            "leave --chat out for plain text"
        ) from None
    assert isinstance(text, str), "tokenize=False gives text"
    assert isinstance(closed, str), "tokenize=False gives text"
    frames = []
    rest = text
    for asked, answered in marks[:-1]:
        before, rest = _cut(rest, asked)
        between, rest = _cut(rest, answered)
        frames.append((before, between))
    before, between = _cut(rest, marks[-1][0])
    frames.append((before, between))
    end = closed[closed.index(marks[-1][1]) + len(marks[-1][1]) :]
    return _shift_ends(frames, end)


def _shift_ends(frames: list[tuple[str, str]], end: str) -> tuple[Frame, ...]:
    """Give each solved turn the text that closes it, which the template wrote before the next."""
    result = []
    for place, (before, between) in enumerate(frames):
        if place:
            if not before.startswith(end):
                raise ModelError(
                    "this tokenizer's chat template closes an earlier turn otherwise than the last "
                    f"one ({before!r} against {end!r}); leave --chat out for plain text"
                )
            before = before[len(end) :]
        result.append(Frame(before, between, end))
    return tuple(result)


def _cut(text: str, mark: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found:
        raise ModelError(
            "this tokenizer's chat template leaves out or changes a turn; "
            "leave --chat out for plain text"
        )
    return before, after
