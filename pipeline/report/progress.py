"""Progress of a build or a lock: bars on a terminal, one plain line per finished step or loaded file elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from threading import RLock
from types import TracebackType

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from pipeline.encoding import Encoded
from pipeline.fetch import Moved

STAGES = ("fetch", "convert", "quality", "decontaminate", "dedupe", "resolve", "assemble")
ONCE = ("dedupe", "resolve")
#: So many files at a time are shown below the line of fetch.
FILES = 5


def steps_of(corpora: int, benchmarks: int) -> dict[str, int]:
    """How many steps each stage of a build has.

    >>> steps_of(corpora=3, benchmarks=2)["fetch"]
    5
    """
    return dict.fromkeys(STAGES, corpora) | dict.fromkeys(ONCE, 1) | {"fetch": corpora + benchmarks}


class Progress:
    """Hears of steps from a runner (`listen`) and of files from fetch (`hear`), from any thread, and shows them.

    With steps there is one bar per stage, and files stand below that of fetch while they are loaded. Without, nothing is
    drawn between files, so that their owner may print.
    """

    def __init__(self, console: Console, steps: Mapping[str, int] | None = None) -> None:
        self._console, self._lock = console, RLock()
        self._bars = _StagesAndFiles(console)
        self._stages = {
            stage: self._bars.add_task(stage, total=total, start=False, now="", is_file=False)
            for stage, total in (steps or {}).items()
        }
        self._files: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> Progress:
        if self._console.is_terminal and self._stages:
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
                self._line(stage, corpus, state, seconds)
            return
        task = self._stages.get(stage)
        if task is None:  # of the benchmarks: index, protect
            return
        if state == "started":
            self._bars.start_task(task)
            self._bars.update(task, now=corpus)
        else:
            self._bars.advance(task)

    def hear(self, moved: Moved) -> None:
        """Where one file stands."""
        if not self._console.is_terminal:
            if moved.state != "moving":
                state = "done" if moved.state == "whole" else "failed"
                self._line("fetch", moved.corpus, state, moved.seconds, f"{moved.name}, {decimal(moved.bytes)}")
            return
        key = (moved.corpus, moved.name)
        with self._lock:
            if moved.state != "moving":
                if (gone := self._files.pop(key, None)) is not None:
                    self._bars.remove_task(gone)
            elif key in self._files:
                self._bars.update(self._files[key], completed=moved.bytes, total=moved.total)
            else:
                self._files[key] = self._bars.add_task(
                    f"  {moved.corpus}", total=moved.total, completed=moved.bytes, now=moved.name, is_file=True
                )
            if not self._stages:
                (self._bars.start if self._files else self._bars.stop)()

    def encoded(self, corpus: str, progress: Encoded) -> None:
        """How far the texts of a corpus are encoded; where no bar is drawn, the step's own line tells."""
        if (task := self._stages.get("encode")) is not None and self._console.is_terminal:
            done, left = f"{progress.texts:,} of {progress.of:,} texts", timedelta(seconds=round(progress.left))
            self._bars.update(task, now=f"{corpus}: {done}, {progress.texts_per_second:,.0f} a second, {left} left")

    def _line(self, stage: str, corpus: str, state: str, seconds: float, more: str = "") -> None:
        line = f"{stage:<14}{corpus:<24}{state:<8}{seconds:8.1f} s  {more}".rstrip()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _StagesAndFiles(Bars):
    """Stages in their order, and below the first of them, fetch, the files that are being loaded."""

    def __init__(self, console: Console) -> None:
        columns = (_Cut("{task.description}", 14), BarColumn(24), _Amount(), TimeElapsedColumn())
        super().__init__(*columns, TextColumn("{task.fields[now]}", markup=False), console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        files = [task for task in self.tasks if task.fields["is_file"]]
        stages = [task for task in self.tasks if not task.fields["is_file"]]
        yield self.make_tasks_table([*stages[:1], *files[:FILES], *stages[1:]])


class _Amount(ProgressColumn):
    """Bytes of files, numbers of steps."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._count = DownloadColumn(), MofNCompleteColumn()

    def render(self, task: Task) -> Text:
        return self._bytes.render(task) if task.fields["is_file"] else self._count.render(task)


class _Cut(TextColumn):
    """Text of a fixed width, so that names of corpora, which come and go, move nothing."""

    def __init__(self, text: str, width: int) -> None:
        super().__init__(text, markup=False)
        self._width = width

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.truncate(self._width, overflow="ellipsis", pad=True)
        return text
