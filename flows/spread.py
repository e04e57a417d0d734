"""Dedupe's parts on a Dask cluster: shards to band files, bands to candidates, candidates to edges, reduces in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import worker_client


@dataclass(frozen=True)
class Workers:
    """Hands parts to the workers of the cluster that runs the calling task, which waits without holding its thread.

    Parts and results are paths, settings and small arrays; the folder of the step must lie where every worker sees it.
    Bands are searched in `parts` groups, each by one worker with the band keys of all shards in its reach.
    """

    parts: int = 8

    def map(self, work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not parts:
            return []
        with worker_client() as client:
            # Not pure: a part that was run before, in a folder that is gone, is to be run again.
            found: list[Any] = client.gather(client.map(work, *zip(*parts, strict=True), pure=False))
            return found
