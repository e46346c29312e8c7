"""Where Isogloss' training time goes, by the kind of operator.

    python -m benchmarks.engine.profile --updates 6

takes the settings of `python -m benchmarks.engine` and prints each kind's share of the time that
operators took, and of the whole; what is neither is Python's.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from torch.profiler import ProfilerActivity, profile

from benchmarks.engine.entry import run
from benchmarks.engine.isogloss_program import train
from benchmarks.engine.making import make_work
from benchmarks.engine.work import Asked

# Kinds of operators by their names, in the order that they are looked for.
KINDS: Mapping[str, str] = {
    "attention, backward": r"attention.*backward",
    "attention, forward": r"scaled_dot_product|attention",
    "matrix products": r"mm$|matmul|linear_pointwise",
    "element by element": r"",
}


def kind_of(operator: str) -> str:
    """The kind of an operator.

    >>> kind_of("aten::_scaled_dot_product_flash_attention_for_cpu_backward"), kind_of("aten::mm")
    ('attention, backward', 'matrix products')
    """
    return next(kind for kind, pattern in KINDS.items() if re.search(pattern, operator))


def shares(spent: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Each kind's share of the time that operators, by name, took themselves."""
    sums = dict.fromkeys(KINDS, 0.0)
    for operator, seconds in spent:
        sums[kind_of(operator)] += seconds
    whole = sum(sums.values())
    return {kind: seconds / whole for kind, seconds in sums.items()}


class _Profiled:
    """Stands where the programs' meter does, and profiles what is timed."""

    def __init__(self) -> None:
        self.seconds, self.spent = 0.0, list[tuple[str, float]]()

    def watch(self, _: Any) -> None:
        """Nothing is counted."""

    @contextmanager
    def timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            yield
            self.seconds = time.perf_counter() - begun
        # Python's own functions (_Product) and frames have no namespace; their operators do.
        self.spent = [
            (each.key, each.self_cpu_time_total / 1e6)
            for each in found.key_averages()
            if "::" in each.key and not each.key.startswith("autograd::")
        ]


def main(asked: Asked) -> None:
    transformers.utils.logging.disable_progress_bar()
    meter = _Profiled()
    with tempfile.TemporaryDirectory() as folder:
        train(make_work(Path(folder), asked), meter)  # type: ignore[arg-type]
    operators = sum(seconds for _, seconds in meter.spent)
    print(f"{meter.seconds:.2f} s in all, {operators:.2f} s in operators\n")
    print("| operators | share of their time |\n|---|---:|")
    for kind, share in shares(meter.spent).items():
        print(f"| {kind} | {share:.1%} |")


if __name__ == "__main__":
    run(main, Asked)
