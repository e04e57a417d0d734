"""What a push would do, as a table: per folder of the repository, how many files come, change, go and stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pipeline.publish.plan import Plan, Release, Remote

KINDS = ("add", "change", "delete", "unchanged")


def operations(release: Release, plan: Plan) -> list[dict[str, Any]]:
    """One row per folder, and one for the whole: files by operation, bytes to send."""
    rows: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for path in getattr(plan, kind):
            place = "/".join(path.split("/")[:2]) if path.startswith("data/") else path.split("/")[0]
            for name in (place, "all"):
                row = rows.setdefault(name, {"path": name, **dict.fromkeys(KINDS, 0), "bytes": 0})
                row[kind] += 1
                row["bytes"] += release.files[path].bytes if kind in ("add", "change") else 0
    whole = rows.pop("all", {"path": "all", **dict.fromkeys(KINDS, 0), "bytes": 0})
    return [*(rows[name] for name in sorted(rows)), whole]


def operations_table(release: Release, plan: Plan, remote: Remote, repo: str) -> Table:
    """The same for the terminal."""
    at = f"commit {remote.commit[:12]}, {'private' if remote.private else 'public'}" if remote.commit else "new"
    told: Mapping[str, Any] = release.told
    title = f"{release.title} → {repo} ({at}); licence class: {told['licence_class']}"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("path", overflow="fold")
    for name in (*KINDS, "bytes"):
        table.add_column(name, justify="right")
    rows = operations(release, plan)
    for row in rows:
        style = "bold" if row is rows[-1] else None
        table.add_row(row["path"], *(f"{row[name]:,}" if row[name] else "" for name in (*KINDS, "bytes")), style=style)
    return table
