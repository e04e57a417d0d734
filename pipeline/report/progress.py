"""Progress of a build: bars on a terminal, one plain line per finished step elsewhere."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

PER_CORPUS = ("fetch", "convert", "quality", "decontaminate", "assemble")
ONCE = ("dedupe", "resolve")


class Progress:
    """Hears of steps from a runner (`listen`) and shows them; one bar per stage."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console, self._steps = console, steps
        self._bars = Bars(
            TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[now]}"), console=console, transient=True
        )
        self._tasks = {
            stage: self._bars.add_task(stage, total=1 if stage in ONCE else steps, start=False, now="")
            for stage in ("fetch", "convert", "quality", "decontaminate", "dedupe", "resolve", "assemble")
        }
        self._states: Counter[str] = Counter()

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def listen(self, stage: str, corpus: str, state: str, seconds: float) -> None:
        if not self._console.is_terminal:
            if state != "started" and not (stage == "fetch" and state == "done"):
                self._console.print(f"{stage:<14}{corpus:<24}{state:<8}{seconds:8.1f} s", highlight=False, markup=False)
            return
        task = self._tasks.get(stage)
        if task is None:  # benchmarks: indexed beside the corpora
            return
        if state == "started":
            self._bars.start_task(task)
            self._bars.update(task, now=corpus)
        elif corpus_counts(stage):
            self._bars.advance(task)


def corpus_counts(stage: str) -> bool:
    return stage in PER_CORPUS or stage in ONCE
