"""Files of an export, written a group of rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.record import SHARD_ROWS

#: Rows or bytes after which a group is written.
GROUP_ROWS, GROUP_BYTES = 65_536, 128 << 20


class Parts:
    """The files `train-00000-of-0000N` of one folder, a group of rows at a time."""

    def __init__(self, folder: Path, suffix: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.suffix = folder, suffix
        self.rows = 0
        self.columns: list[str] = []
        self._held: list[pl.DataFrame] = []
        self._paths: list[Path] = []
        self._in_file = 0
        self._file: Any = None

    def write(self, rows: pl.DataFrame) -> None:
        self.columns = rows.columns
        self.rows += rows.height
        self._held.append(rows)
        full = sum(f.height for f in self._held) >= GROUP_ROWS
        if full or sum(f.estimated_size() for f in self._held) >= GROUP_BYTES:
            self._flush()

    def close(self) -> dict[str, Any]:
        self._flush()
        self._end_file()
        names = [f"train-{i:05d}-of-{len(self._paths):05d}.{self.suffix}" for i in range(len(self._paths))]
        for path, name in zip(self._paths, names, strict=True):
            path.rename(path.with_name(name))
        return {"rows": self.rows, "columns": self.columns, "files": names}

    def _flush(self) -> None:
        if not self._held:
            return
        rows, self._held = pl.concat(self._held), []
        if self._in_file and self._in_file + rows.height > SHARD_ROWS:
            self._end_file()
        table = _plain(rows)
        if self._file is None:
            self._paths.append(self.folder / f"part-{len(self._paths)}.{self.suffix}")
            self._file = self._open(table.schema)
        if self.suffix == "jsonl":
            rows.write_ndjson(self._file)
        else:
            self._file.write_table(table, row_group_size=table.num_rows)
        self._in_file += rows.height

    def _open(self, schema: pa.Schema) -> Any:
        if self.suffix == "jsonl":
            return self._paths[-1].open("wb")
        return pq.ParquetWriter(self._paths[-1], schema, compression="zstd")

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._in_file = None, 0


def _plain(rows: pl.DataFrame) -> pa.Table:
    """With the string type that every reader knows."""
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    plain = [pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(plain))
