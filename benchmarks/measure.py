"""CPU-seconds, peak memory, and the table in which a bench tells them beside the bars."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: One thread for everything that would take more; to be set before numpy, polars and numba are imported.
ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), "1"
)
#: Dense bf16 and float16 operations per second as the makers state them, by a part of the device's name.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
#: How often each side is measured; the median counts.
REPEATS = 3


def cpu_seconds(sides: Mapping[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, float]:
    """The median CPU-seconds of this process for each side; the sides take turns, so that drift hits all alike.

    Whoever calls has run each side once before: what is compiled or built at the first call does not count.

    >>> sorted(cpu_seconds({"sum": lambda: sum(range(10)), "nothing": lambda: None}))
    ['nothing', 'sum']
    """
    return _medians(sides, repeats, time.process_time)


def wall_seconds(sides: Mapping[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds by the clock, as `cpu_seconds`: a GPU's work takes no CPU-seconds.

    >>> sorted(wall_seconds({"sum": lambda: sum(range(10)), "nothing": lambda: None}))
    ['nothing', 'sum']
    """
    return _medians(sides, repeats, time.perf_counter)


def _medians(sides: Mapping[str, Callable[[], Any]], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            began = clock()
            work()
            taken[name].append(clock() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def gpu_peak() -> tuple[str, float | None]:
    """The GPU's name and its operations per second at most, where they are known."""
    import torch

    name = torch.cuda.get_device_name()
    return name, next((peak for part, peak in PEAKS.items() if part in name), None)


def peak_bytes() -> int:
    """The most memory this process has held so far."""
    try:
        # Linux hands ru_maxrss of the starting process down to the started one; VmHWM begins anew.
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def child_environment(*, one_thread: bool = True) -> dict[str, str]:
    """The environment of a started Python: with the limits, or as a user has it."""
    # Without the last, Python would compile every module of ours at every start.
    unwanted = {*ONE_THREAD, "PYTHONDONTWRITEBYTECODE"}
    plain = {name: value for name, value in os.environ.items() if name not in unwanted}
    return plain | ONE_THREAD if one_thread else plain


@dataclass(frozen=True)
class Row:
    """One line of a table; `holds` is None where no bar is set."""

    cells: tuple[str, ...]
    bar: str
    holds: bool | None


@dataclass
class Table:
    """What a bench found.

    >>> table = Table("sums", ("side", "per s"))
    >>> table.add("ours", "20", bar="10", holds=True)
    >>> print(table)
    sums
      side  per s  bar
      ours     20   10  ok
    """

    title: str
    head: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add(self, *cells: str, bar: str = "", holds: bool | None = None) -> None:
        self.rows.append(Row(cells, bar, holds))

    @property
    def below(self) -> list[str]:
        """First cells of the rows whose bar does not hold."""
        return [row.cells[0] for row in self.rows if row.holds is False]

    def __str__(self) -> str:
        verdict = {True: "ok", False: "below", None: ""}
        lines = [(*self.head, "bar", "")] + [(*row.cells, row.bar, verdict[row.holds]) for row in self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        told = [self.title]
        for line in lines:
            cells = [
                cell.ljust(width) if i in (0, len(line) - 1) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            told.append("  " + "  ".join(cells).rstrip())
        return "\n".join(told + [f"  {note}" for note in self.notes])

    def show(self) -> Table:
        print(self, end="\n\n", flush=True)
        return self


def rate(count: float, seconds: float) -> str:
    """How many per second, in three digits.

    >>> rate(123456, 1), rate(5, 2)
    ('123,000', '2.5')
    """
    each = count / max(seconds, 1e-9)
    return f"{round(each, 2 - len(str(int(each))) + 1):,.0f}" if each >= 100 else f"{each:.3g}"


def times(ratio: float) -> str:
    """A ratio as people write it.

    >>> times(812.3), times(1.94)
    ('812x', '1.9x')
    """
    return f"{ratio:,.0f}x" if ratio >= 20 else f"{ratio:.1f}x"
