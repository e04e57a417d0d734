"""T2Ranking cut down to its first passages, as the seed evaluated retrieval: 1W, 10W and 50W.

The rule of uniem's mteb-zh/mteb_zh/tasks.py: the corpus are the passages up to the first whose pid is greater than N (so
N + 1 of them), judgements are those of queries.dev on these, and queries those with a judgement that is not 0. Its
authors ran out of 128 GB on 50W; here the passages lie in an Arrow file on disk, as many as are looked at are in memory.

Source: THUIR/T2Ranking on the Hub, Xie et al. 2023, arXiv:2304.03679. Tab-separated, names in the first line, no quotes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from mteb.abstasks.retrieval import AbsTaskRetrieval

from pipeline.errors import FormatError
from pipeline.evaluate.hub import fetched, is_folder, opened
from pipeline.evaluate.metadata import metadata

REPO, REVISION = "THUIR/T2Ranking", "1e3ceeea18566e50fc79159449739315d60ac554"
SIZES = {"T2Ranking-1W": 10_000, "T2Ranking-10W": 100_000, "T2Ranking-50W": 500_000}
PASSAGES = pa.schema([("id", pa.string()), ("text", pa.string())])
COLUMNS = {
    "collection.tsv": {"pid": pa.int64(), "text": pa.string()},
    "queries.dev.tsv": {"qid": pa.int64(), "text": pa.string()},
    "qrels.dev.tsv": {"qid": pa.int64(), "pid": pa.int64(), "rel": pa.int64()},
}


class T2Ranking(AbsTaskRetrieval):
    """nDCG@10 and its kin over the passages whose pid is at most `most`; scores go to rank 100, not 1,000."""

    k_values = (1, 3, 5, 10, 20, 100)
    commit: str | None = None

    def __init__(self, name: str) -> None:
        self.most = SIZES[name]
        told = f"Dev queries of T2Ranking against its passages up to pid {self.most:,}, as the seed's MTEB-zh."
        self.metadata = metadata(name, "Retrieval", REPO, REVISION, ["dev"], told)
        super().__init__()

    def load_data(self, num_proc: int | None = None, *, timer: Any = None, **_: Any) -> None:
        """Raises FormatError where a file is not what its first line says, and what the Hub's library raises."""
        from datasets import Dataset

        if self.data_loaded:
            return
        path = self.metadata.dataset["path"]
        names = ("queries.dev.tsv", "qrels.dev.tsv")
        folder, self.commit = fetched(path, REVISION, [f"data/{name}" for name in names])
        queries, judged = (_table(folder / "data" / name) for name in names)
        judged = judged.filter(pl.col("pid") <= self.most)
        judged = judged.filter((pl.col("rel") != 0).any().over("qid"))
        queries = queries.filter(pl.col("qid").is_in(judged["qid"].unique().implode()))
        judged = judged.filter(pl.col("qid").is_in(queries["qid"].implode()))
        text = pl.col("qid", "pid").cast(pl.String)
        lists = judged.with_columns(text).group_by("qid", maintain_order=True).agg("pid", "rel")
        self.dataset = {
            "default": {
                "dev": {
                    "corpus": Dataset.from_file(str(self._passages(path))),
                    "queries": Dataset(queries.select(id=pl.col("qid").cast(pl.String), text="text").to_arrow()),
                    "relevant_docs": {q: dict(zip(p, r, strict=True)) for q, p, r in lists.iter_rows()},
                    "top_ranked": None,
                }
            }
        }
        self.data_loaded = True

    def _passages(self, path: str) -> Path:
        """An Arrow file of id and text, made once from as much of collection.tsv as it takes."""
        from datasets import config

        of = REVISION
        if is_folder(path):
            told = Path(path, "data/collection.tsv").stat()
            of = f"{told.st_size}-{told.st_mtime_ns}"
        made = Path(config.HF_DATASETS_CACHE) / "m3e-pipeline" / f"t2ranking-{of}-{self.most}.arrow"
        if made.is_file():
            return made
        made.parent.mkdir(parents=True, exist_ok=True)
        part = made.with_name(f"{made.name}.{os.getpid()}.part")
        try:
            with opened(path, REVISION, "data/collection.tsv") as file, pa.ipc.new_stream(part, PASSAGES) as out:
                for batch in _reader(file, "collection.tsv"):
                    beyond = pc.index(pc.greater(batch["pid"], self.most), True).as_py()
                    kept = batch if beyond < 0 else batch.slice(0, beyond)
                    out.write_batch(pa.record_batch([kept["pid"].cast(pa.string()), kept["text"]], schema=PASSAGES))
                    if beyond >= 0:
                        break
            os.replace(part, made)
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            raise _malformed("collection.tsv", error) from None
        finally:
            part.unlink(missing_ok=True)
        return made


def _reader(file: Any, name: str) -> Any:
    return pyarrow.csv.open_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=1 << 23, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=pyarrow.csv.ConvertOptions(column_types=COLUMNS[name], include_columns=list(COLUMNS[name])),
    )


def _table(path: Path) -> pl.DataFrame:
    try:
        with path.open("rb") as file:
            return pl.DataFrame(_reader(file, path.name).read_all())
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _malformed(path.name, error) from None


def _malformed(name: str, error: Exception) -> FormatError:
    cause = f"it is not tab-separated with the names {', '.join(COLUMNS[name])} in its first line ({error})"
    return FormatError(f"T2Ranking data/{name}", cause, f"download it again, at commit {REVISION} of {REPO}")
