"""The counts of a conversion, the rows it could not use, and whether both are as the manifest allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl
import pyarrow as pa

from pipeline.convert.rows import Raw
from pipeline.errors import BadRowsError, DriftError
from pipeline.layouts import BadRow
from pipeline.manifest.corpus import Corpus
from pipeline.record import QUARANTINE_SCHEMA
from pipeline.shards import ShardWriter
from pipeline.source import SourceFile

#: From so many quarantined rows on, a corpus most of whose rows are bad is given up without reading the rest.
_HOPELESS_ROWS = 10_000


@dataclass
class Count:
    """Of one part and split. Rows: read = used + filtered + quarantined; a used row gave a record or a labelled row."""

    read: int = 0
    used: int = 0
    filtered: int = 0
    quarantined: int = 0
    records: int = 0
    labelled: int = 0

    def add(self, other: Count) -> None:
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


class Tally:
    """Counts per part and split, and the quarantine of one corpus."""

    def __init__(self, corpus: Corpus, quarantine: ShardWriter) -> None:
        self._corpus, self._quarantine = corpus, quarantine
        self._counts: dict[tuple[int, str], Count] = {}
        self._first_bad: list[str] = []

    def add(self, file: SourceFile, raw: Raw) -> None:
        """Count what some rows gave, and write the bad ones. Raises BadRowsError when nearly all rows are bad."""
        used = pl.concat([raw.records["at"], raw.labelled["at"]]).n_unique()
        bad = len(raw.quarantined)
        rows = len(raw.rows)
        count = Count(rows + bad, used, rows - used, bad, raw.records.height, raw.labelled.height)
        self._counts.setdefault((file.part, file.split), Count()).add(count)
        if bad:
            self._write(file, raw.quarantined)
            total = self.total()
            if total.quarantined >= _HOPELESS_ROWS and total.quarantined * 2 > total.read:
                self.refuse_bad_rows()

    def _write(self, file: SourceFile, rows: Sequence[BadRow]) -> None:
        locators = [f"{file.name}#{bad.row}" for bad in rows]
        told = zip(locators, rows, strict=True)
        self._first_bad += [f"{at}: {bad.reason}" for at, bad in told][: 3 - len(self._first_bad)]
        columns = [
            [self._corpus.name] * len(rows),
            [self._corpus.parts[file.part].sub_source] * len(rows),
            [file.split] * len(rows),
            locators,
            [bad.reason for bad in rows],
            [bad.raw for bad in rows],
        ]
        arrays = [pa.array(column, pa.string()) for column in columns]
        self._quarantine.write(pa.Table.from_arrays(arrays, schema=QUARANTINE_SCHEMA))

    def total(self) -> Count:
        total = Count()
        for count in self._counts.values():
            total.add(count)
        return total

    def refuse_bad_rows(self) -> None:
        """Raises BadRowsError when more rows are quarantined than the corpus allows."""
        if fault := self._bad_rows():
            name, cause = self._corpus.name, f"{fault} (max_bad_rows {self._corpus.max_bad_rows:.2%})"
            first = "; ".join(self._first_bad)
            raise BadRowsError(name, f"{cause}. The first: {first}", "mend columns, layout or encoding of the part")

    def warnings(self, *, whole: bool, asserted: bool) -> list[str]:
        """What does not fail the corpus but must be said: claimed counts that do not hold, bad rows of a cut sample.

        Raises DriftError when counts are to be asserted and a measured one does not hold.
        """
        if not whole and (fault := self._bad_rows()):
            return [f"{fault} in this sample. The first: {'; '.join(self._first_bad)}"]
        expect, total = self._corpus.expect, self.total()
        if expect is None or not asserted:
            return []
        found = {"rows": total.read, "records": total.records, "labelled": total.labelled}
        wrong = [
            f"{kind}: expected {expected}, found {found[kind]}"
            for kind in found
            if (expected := getattr(expect, kind)) is not None and expected != found[kind]
        ]
        if wrong and expect.seen == "measured":
            cure = "look at what changed upstream, then give the new counts in expect"
            raise DriftError(self._corpus.name, f"measured counts do not hold: {'; '.join(wrong)}", cure)
        return [f"{fault} (claimed)" for fault in wrong]

    def _bad_rows(self) -> str | None:
        total = self.total()
        if total.quarantined <= total.read * self._corpus.max_bad_rows:
            return None
        return f"{total.quarantined} of {total.read} rows ({total.quarantined / total.read:.2%}) are malformed"

    def told(self) -> list[dict[str, object]]:
        """The counts for the receipt, in the order files were read."""
        return [
            {"part": part, "sub_source": self._corpus.parts[part].sub_source, "split": split, **asdict(count)}
            for (part, split), count in self._counts.items()
        ]
