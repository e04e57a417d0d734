"""For the tests of publishing: builds to push, and a warm process that pushes in forks which can be killed."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl

from pipeline.build import build, count
from pipeline.context import context_of
from pipeline.folder import readable_json
from pipeline.manifest.catalog import read_catalog
from pipeline.receipt import write_build
from pipeline.record import DATA_SCHEMA, SCORED_SCHEMA
from pipeline.runner import Threads
from pipeline.shards import ShardWriter
from pipeline.store import seal
from tests.hub_uploads import UploadDouble
from tests.small import CLOSED, OPEN, corpus, write_manifests, write_rows

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "hf_canaryCANARYcanary"
WORDS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"

CHILD = """
import base64, json, os, pickle, signal, sys
from pathlib import Path
import stamina
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCardData, HfApi, ModelCard, hf_hub_download
from huggingface_hub.utils import get_session, hf_raise_for_status
from pipeline.manifest.catalog import read_catalog
from pipeline.publish import Target, look, push, release_of
from pipeline.errors import CurationError

stamina.set_testing(True, attempts=9, cap=True)
sys.modules["pipeline.publish.push"].WAIT_S = 0
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
catalogs = {}

def work(job):
    said = []
    try:
        target = Target(job["repo"], job.get("private"), job.get("pr", False), job.get("tag"))
        model = Path(job["model"]) if job.get("model") else None
        build = Path(job["build"]) if job.get("build") else None
        release = release_of(build, model, job["repo"], job.get("edition"), Path(job["store"]), lambda: catalogs[job["manifests"]])
        if job.get("look"):
            return {"plan": look(release, target)[0].told(), "told": dict(release.told)}
        return {"pushed": push(release, target, said.append).told(), "said": said}
    except CurationError as error:
        chain, at = [], error
        while at is not None:
            chain.append(type(at).__module__)
            at = at.__cause__ or at.__context__
        shown = [str(error), repr(error), repr(vars(error)), base64.b64encode(pickle.dumps(error)).decode()]
        return {"error": str(error), "kind": type(error).__name__, "exit": error.exit_code, "shown": shown, "chain": chain}

for line in sys.stdin:
    job = json.loads(line)
    if job["manifests"] not in catalogs:
        catalogs[job["manifests"]] = read_catalog([Path(job["manifests"])])
    # Nothing has used polars' threads here: a fork may.
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    told = work(job)
    path = Path(job["answer"])
    path.with_suffix(".part").write_text(json.dumps(told, default=str))
    os.replace(path.with_suffix(".part"), path)
    sys.stderr.flush()
    os._exit(0)
"""


class Publisher:
    """A process that knows the Hub's double and forks for every push."""

    def __init__(self, hub: UploadDouble, folder: Path, **environment: str) -> None:
        self.hub, self.folder, self.jobs = hub, folder, 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        told = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(folder / "hf"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_DEBUG": "1",
            "NO_PROXY": "*",
        }
        with (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CHILD],
                env=kept | told | environment,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def start(self, repo: str, build: Path | None = None, **job: Any) -> tuple[int, Path]:
        """Begin a push; the fork's id, and where its answer will lie."""
        self.jobs += 1
        answer = self.folder / f"answer-{self.jobs}.json"
        manifests = job.pop("manifests", self.folder / "manifests")
        told = {"repo": repo, "build": build, "store": self.folder / "store", "manifests": manifests, "answer": answer}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(told | job, default=str) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, (self.folder / "stderr").read_text()
        return int(line), answer

    def end(self, pid: int, answer: Path, seconds: float = 60) -> dict[str, Any] | None:
        """The answer of a fork; None where it was killed. Whatever it says, the token is not in it."""
        until = time.monotonic() + seconds
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.005)
        if not answer.exists():
            return None
        told: dict[str, Any] = json.loads(answer.read_bytes())
        if "error" in told:
            *shown, pickled = told["shown"]
            said = "".join(shown).encode() + base64.b64decode(pickled)
            assert b"canary" not in said and b"X-Signature" not in said and b"http:" not in said
            assert all(module.startswith("pipeline.") for module in told["chain"])
        return told

    def push(self, repo: str, build: Path | None = None, **job: Any) -> dict[str, Any]:
        told = self.end(*self.start(repo, build, **job))
        assert told is not None, (self.folder / "stderr").read_text()
        return told

    def killed(self, repo: str, build: Path, at: int, *, is_done: bool) -> bool:
        """Begin a push and kill it when its request `at` comes, or when the work of it is done but not answered."""
        begun, struck = Event(), Event()
        pids: list[int] = []

        def watch(number: int, done: bool) -> None:
            if (number, done) == (at, is_done):
                begun.wait(30)
                os.kill(pids[0], signal.SIGKILL)
                struck.set()

        # Large files are sent anew every time.
        self.hub.objects.clear()
        self.hub.seen = 0
        self.hub.watch = watch
        pid, answer = self.start(repo, build)
        pids.append(pid)
        begun.set()
        self.end(pid, answer)
        self.hub.watch = lambda number, done: None
        return struck.is_set()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def tokens_below(folder: Path) -> list[str]:
    """Files that hold the token, as it is or in base64 at any of its three places."""
    raw = TOKEN.encode()
    shapes = [raw, *(base64.b64encode(b"x" * shift + raw)[4 : 4 + 4 * (len(raw) // 3 - 1)] for shift in range(3))]
    return [str(p) for p in folder.rglob("*") if p.is_file() and any(shape in p.read_bytes() for shape in shapes)]


def sentences(seed: int, rows: int, chars: int = 40) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [
        {"q": "".join(draw.choices(WORDS, k=14)) + str(i), "a": "".join(draw.choices(WORDS, k=chars)), "m": i % 5 != 0}
        for i in range(rows)
    ]


def manifests_of(folder: Path, rows: int = 60) -> Path:
    """Four corpora: free; one under stricter terms that may be passed on; one that may not; one of which a part may."""
    held = {**CLOSED, "redistribute": "forbidden"}
    one = corpus("x")["parts"][0]
    columns = {"q": "string", "a": "string", "m": "bool"}
    labelled = {"text": "q", "other": "a", "match": "m"}
    select = {"text": "q", "text_pos": "a", "where": "m"}
    free = one | {"files": {"train": "free.jsonl"}, "columns": columns, "select": select, "labelled": labelled}
    shut = free | {"files": {"train": "shut.jsonl"}}
    parts = [
        one | {"files": {"train": f"parts-{name}.jsonl"}, "columns": columns, "select": select, "sub_source": name}
        for name in ("wiki", "forum")
    ]
    corpora = [
        corpus("free", parts=[free]),
        corpus("bound", licence=CLOSED),
        corpus("shut", licence=held, parts=[shut]),
        corpus("parts", licence=OPEN | {"sub_sources": {"wiki": OPEN, "forum": held}}, parts=parts),
    ]
    write_manifests(folder, corpora, {"name": "small", "corpora": [one["name"] for one in corpora]})
    for seed, name in enumerate(("free", "bound", "shut", "parts-wiki", "parts-forum")):
        write_rows(
            folder, name, [row if name != "bound" else {k: row[k] for k in "qa"} for row in sentences(seed, rows)]
        )
    return folder


def built(manifests: Path, out: Path, store: Path, recipe: str = "small") -> Path:
    catalog = read_catalog([manifests])
    runner = Threads(2)
    try:
        outcome = build(context_of(catalog, catalog.recipe(recipe), store), runner)
    finally:
        runner.close()
    count(outcome)
    return write_build(outcome, out, (), [])[0]


def rewritten(source: Path, target: Path, change: Any, **told: Any) -> Path:
    """A copy of a build whose data shards went through `change(frame)`, with a receipt that knows them."""
    receipt = json.loads((source / "build.json").read_bytes())
    for name in receipt["files"]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if not name.startswith("data/"):
            (target / name).write_bytes((source / name).read_bytes())
            continue
        frame = change(pl.read_parquet(source / name))
        schema = SCORED_SCHEMA if "neg" in frame.columns else DATA_SCHEMA
        with ShardWriter(target / Path(name).parent, "made", schema) as writer:
            writer.write_shard([frame.select(schema.names).to_arrow().cast(schema)])
        writer.paths[0].rename(target / name)
    for name in receipt["files"]:
        (target / name).chmod(0o644)
    files = {name: sealed for name, sealed in seal(target).items() if name != "build.json"}
    (target / "build.json").write_bytes(readable_json(receipt | told | {"files": files}))
    return target


def scored_build(source: Path, target: Path) -> Path:
    """The build with hard negatives: other positives of its corpus, the n-th record having n % 3 of them."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        rows = frame.to_dicts()
        for i, row in enumerate(rows):
            others = [rows[(i + step) % len(rows)] for step in range(1, 1 + i % 3)]
            row["score_pos"], row["calibrated_pos"] = 0.75, 0.9
            row["neg"] = [
                {
                    "record_id": other["record_id"],
                    "corpus": other["corpus"],
                    "origin": "mined",
                    "text": other["text_pos"],
                    "score": 0.5 - rank / 8,
                    "calibrated": 0.3,
                    "rank": rank,
                    "licence_id": other["licence_id"],
                }
                for rank, other in enumerate(others)
            ]
        told = pl.DataFrame(rows, infer_schema_length=None, schema_overrides={**frame.schema, "score_pos": pl.Float32})
        return told.with_columns(pl.col("calibrated_pos").cast(pl.Float32))

    recipe = json.loads((source / "build.json").read_bytes())["recipe"]
    recipe |= {"name": "small-with-score", "base": "small", "encoder": "any"}
    return rewritten(source, target, change, recipe=recipe, score={})
