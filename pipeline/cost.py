"""What steps cost: seconds, and the memory of the process while they ran; told beside an output, never part of it.

The costs of a step lie in `cost.json` in the folder of its entry, which no receipt, checksum or address knows of. So they
stay with an output that later builds find in the store, whoever carried out the step, and a build can tell them again.
"""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.runner import Pending, Runner
from pipeline.store import Entry, Receipt, Store, Work, canonical_json

NAME = "cost.json"
#: Memory is looked at so often while a step runs.
PAUSE_S = 0.05
_PAGES = Path("/proc/self/statm")


@dataclass
class Cost:
    """Of one step. Steps at work in the same process share its memory, so `peak_bytes` counts them too."""

    seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def measuring(cost: Cost) -> Iterator[None]:
    """Measures what is done inside; the cost is whole when it ends.

    >>> cost = Cost()
    >>> with measuring(cost):
    ...     time.sleep(0.01)
    >>> cost.seconds >= 0.01 and cost.peak_bytes > 0
    True
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PAUSE_S):
            cost.peak_bytes = max(cost.peak_bytes, memory())

    began, cost.peak_bytes = time.perf_counter(), memory()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        cost.peak_bytes = max(cost.peak_bytes, memory())
        cost.seconds = time.perf_counter() - began


def memory() -> int:
    """Bytes of memory that this process holds now; where the system does not say, the most it ever held."""
    try:
        return int(_PAGES.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def give_back() -> None:
    """Hand free memory back to the system: allocators keep what the largest batch of a step took, and steps add up."""
    if arrow := sys.modules.get("pyarrow"):
        arrow.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def measured_entry(
    store: Store, stage: str, key: str, work: Work, inputs: Sequence[str] = (), *, rehearsal: bool
) -> Entry:
    """The entry of this key, as `Store.entry` gives it; what is made now gets its cost beside it, and leaves no memory."""
    cost = Cost()

    def watched(out: Path) -> Receipt:
        with measuring(cost):
            receipt = work(out)
        give_back()
        return receipt

    entry = store.entry(stage, key, watched, inputs, rehearsal=rehearsal)
    if cost.seconds:
        # The output is whole already: a disk that is full now may not undo it.
        with suppress(OSError):
            told = {"seconds": round(cost.seconds, 3), "peak_bytes": cost.peak_bytes}
            (entry.path / NAME).write_bytes(canonical_json(told))
    return entry


def cost_of(entry: Entry) -> Cost | None:
    """What an entry cost when it was made; None where nobody measured."""
    try:
        return Cost(**json.loads((entry.path / NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


class Costs:
    """A runner that remembers the steps it was given, to tell what they cost when all are done."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._steps: list[tuple[str, str, Pending]] = []

    def submit(self, stage: str, corpus: str, call: Callable[..., Any], *inputs: Any) -> Pending:
        pending = self._runner.submit(stage, corpus, call, *inputs)
        self._steps.append((stage, corpus, pending))
        return pending

    def told(self) -> list[dict[str, Any]]:
        """One row per finished step with an output, by stage and corpus: seconds, peak_bytes, and whether it was found."""
        rows = []
        for stage, corpus, pending in self._steps:
            try:
                result = pending.result()
            except Exception:
                continue  # a gap, or, in Prefect's own words, a step after one: no output. The build has judged it by now
            entries = [one for one in (result if isinstance(result, list) else [result]) if isinstance(one, Entry)]
            costs = [cost for cost in map(cost_of, entries) if cost]
            if costs:
                seconds, peak = sum(cost.seconds for cost in costs), max(cost.peak_bytes for cost in costs)
                cached = all(entry.cached for entry in entries)
                rows.append(
                    {
                        "stage": stage,
                        "corpus": corpus,
                        "seconds": round(seconds, 3),
                        "peak_bytes": peak,
                        "cached": cached,
                    }
                )
        return sorted(rows, key=lambda row: (row["stage"], row["corpus"]))
