"""Progress of a build: bars on a terminal, one plain line per finished step elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

STAGES = ("fetch", "convert", "quality", "decontaminate", "dedupe", "resolve", "assemble")
ONCE = ("dedupe", "resolve")


class Progress:
    """Hears of steps from a runner (`listen`) and shows them; one bar per stage."""

    def __init__(self, console: Console, corpora: int, benchmarks: int) -> None:
        self._console = console
        columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, TextColumn("{task.fields[now]}"), console=console, transient=True)
        totals = dict.fromkeys(STAGES, corpora) | dict.fromkeys(ONCE, 1) | {"fetch": corpora + benchmarks}
        self._tasks = {stage: self._bars.add_task(stage, total=totals[stage], start=False, now="") for stage in STAGES}

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def listen(self, stage: str, corpus: str, state: str, seconds: float) -> None:
        """One event of a step; `state` is started, done, cached or failed."""
        if not self._console.is_terminal:
            if state in ("failed", "done") and stage != "fetch":
                self._console.print(f"{stage:<14}{corpus:<24}{state:<8}{seconds:8.1f} s", highlight=False, markup=False)
            return
        task = self._tasks.get(stage)
        if task is None:  # of the benchmarks: index, protect
            return
        if state == "started":
            self._bars.start_task(task)
            self._bars.update(task, now=corpus)
        else:
            self._bars.advance(task)
