"""Who carries out steps: threads of this process here, Prefect tasks in `flows/`, a rehearsal for plans."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from pipeline.errors import CurationError
from pipeline.store import Entry


class Pending(Protocol):
    """A step under way; `result` waits for it and raises what it raised."""

    def result(self) -> Any: ...


class Runner(Protocol):
    """Who carries out steps. `inputs` may hold pending results, also inside lists and dicts; they are waited for."""

    def submit(self, stage: str, corpus: str, call: Callable[..., Any], *inputs: Any) -> Pending: ...


Listener = Callable[[str, str, str, float], None]


class Threads:
    """Runs steps on threads of this process, first come first served, so a step's inputs always started before it.

    `listen(stage, corpus, state, seconds)` hears `started`, then `done`, `cached` or `failed`.
    """

    def __init__(self, workers: int = 2, listen: Listener | None = None) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self._listen = listen or (lambda *_: None)

    def submit(self, stage: str, corpus: str, call: Callable[..., Any], *inputs: Any) -> Future[Any]:
        return self._pool.submit(self._run, stage, corpus, call, inputs)

    def _run(self, stage: str, corpus: str, call: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        ready = [resolved(one) for one in inputs]
        self._listen(stage, corpus, "started", 0.0)
        began = time.perf_counter()
        try:
            result = call(*ready)
        except CurationError:
            self._listen(stage, corpus, "failed", time.perf_counter() - began)
            raise
        seconds = time.perf_counter() - began
        state = "cached" if isinstance(result, Entry) and result.cached else "done"
        self._listen(stage, corpus, state, seconds)
        return result

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def resolved(value: Any) -> Any:
    """Wait for pending results inside a value."""
    if isinstance(value, dict):
        return {key: resolved(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(resolved(one) for one in value)
    return value.result() if hasattr(value, "result") else value
