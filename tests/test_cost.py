"""What steps cost: told beside outputs, kept with them, and never part of them."""

from __future__ import annotations

import json
import mmap
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.cost import NAME, Cost, Costs, cost_of, measured_entry, measuring, memory
from pipeline.errors import BuildError
from pipeline.runner import Threads
from pipeline.store import Entry, Store

BYTES = 300_000_000


def hungry(out: Path) -> dict[str, int]:
    (out / "made.txt").write_text("made")
    held = np.ones(BYTES // 8)  # every page is touched
    time.sleep(0.2)
    return {"sum": int(held.sum())}


def step(store: Store, key: str = "a", *, rehearsal: bool = False) -> Entry:
    return measured_entry(store, "stage", key, hungry, rehearsal=rehearsal)


def test_time_and_the_highest_memory_are_seen() -> None:
    cost = Cost()
    with measuring(cost):
        held = mmap.mmap(-1, BYTES)  # no allocator keeps it
        np.frombuffer(held, np.uint8)[::1024] = 1
        time.sleep(0.2)
        full = memory()
        held.close()
        left = memory()
    assert 0.2 <= cost.seconds < 30
    assert left <= full - 0.9 * BYTES  # the kernel's count, and libraries give back in between: hence the two margins
    assert cost.peak_bytes >= full - 0.3 * BYTES


def test_a_cost_lies_beside_the_output_and_stays_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert cost_of(step(store, rehearsal=True)) is None and not list(tmp_path.rglob(NAME))
    made = step(store)
    told = json.loads((made.path / NAME).read_bytes())
    assert set(told) == {"seconds", "peak_bytes"} and told["seconds"] >= 0.2
    assert set(made.files) == {"made.txt"} and NAME not in (made.path / "entry.json").read_text()
    found = step(store)
    assert found.cached and cost_of(found) == Cost(**told)
    (made.path / NAME).write_text("not JSON")
    assert step(store).cached and cost_of(found) is None


def test_a_runner_tells_the_costs_of_its_steps(tmp_path: Path) -> None:
    store = Store(tmp_path)
    step(store, "found")

    def fails() -> None:
        raise BuildError("here", "cause", "cure")

    threads = Threads(1)
    costs = Costs(threads)
    costs.submit("mine", "b", step, store, "found")
    costs.submit("encode", "a", lambda: [step(store, "x"), step(store, "y")])
    costs.submit("fetch", "a", lambda: "no entry")
    failed = costs.submit("mine", "a", fails)
    with pytest.raises(BuildError):
        failed.result()
    told = costs.told()
    threads.close()
    assert [(row["stage"], row["corpus"], row["cached"]) for row in told] == [
        ("encode", "a", False),
        ("mine", "b", True),
    ]
    assert told[0]["seconds"] >= 0.4 and told[0]["peak_bytes"] >= BYTES
