"""Sequences whose values are made when they are asked for, and not kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, final, overload

Made = TypeVar("Made", covariant=True)


class Lazy(Sequence[Made]):
    """A part of it is lazy too; it equals any sequence of the same values."""

    @abstractmethod
    def at(self, place: int) -> Made:
        """The value at a place from 0 on."""

    @overload
    def __getitem__(self, place: int) -> Made: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Made]: ...
    def __getitem__(self, place: int | slice) -> Made | Sequence[Made]:
        found = range(len(self))[place]
        return Part(self, found) if isinstance(found, range) else self.at(found)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


@final
class Part(Lazy[Made]):
    """The values at some places of another one, in the order of the places."""

    def __init__(self, whole: Lazy[Made], places: Sequence[int]) -> None:
        self.whole, self.places = whole, places

    def at(self, place: int) -> Made:
        """The value at a place from 0 on."""
        return self.whole.at(self.places[place])

    def __len__(self) -> int:
        return len(self.places)
