"""Values kept on disk in the order they came, where there are more than memory should hold."""

from __future__ import annotations

import json
import tempfile
import threading
from array import array
from typing import Any, final

import numpy
from numpy.typing import ArrayLike

from isogloss.errors import ConfigError
from isogloss.lazy import Lazy


@final
class Shelf(Lazy[Any]):
    """JSON values in a temporary file, 16 bytes of memory each; the file goes with the last shelf.

    A value is read when it is asked for. The one asked for last is held: it must not be changed.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="isogloss-")  # noqa: SIM115 - as long as any shelf
        self._lock = threading.Lock()
        self._starts, self._ends = array("Q"), array("Q")
        self._last: tuple[int, Any] | None = None

    def add(self, value: Any) -> None:
        """Keep one more value.

        Raises:
            ConfigError: there is no room for it on the disk.
        """
        try:
            with self._lock:
                start = self._file.seek(0, 2)
                self._file.write(json.dumps(value, ensure_ascii=False).encode())
                end = self._file.tell()
        except OSError as error:
            raise ConfigError(
                f"cannot keep items in {tempfile.gettempdir()} ({error.strerror or error}); free "
                "some room there, or set TMPDIR to a folder with more"
            ) from error
        self._starts.append(start)
        self._ends.append(end)

    def in_order(self, places: ArrayLike) -> Shelf:
        """The values at these places, in this order, of the same file."""
        other = Shelf.__new__(Shelf)
        other._file, other._lock, other._last = self._file, self._lock, None
        chosen = numpy.asarray(places, dtype=numpy.int64)
        other._starts, other._ends = (
            array("Q", numpy.asarray(all_of)[chosen].tobytes())
            for all_of in (self._starts, self._ends)
        )
        return other

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, place: int) -> Any:
        """The value at a place from 0 on."""
        last = self._last
        if last is None or last[0] != place:
            last = (place, self._read(place))
            self._last = last
        return last[1]

    def _read(self, place: int) -> Any:
        with self._lock:
            self._file.seek(self._starts[place])
            return json.loads(self._file.read(self._ends[place] - self._starts[place]))
