"""Every source of the external corpora's manifests through its real fetcher: Hub, web, Google Drive, by hand.

A round is one build, of each corpus from its nth source (Drive, which needs an extra, apart); what stands before that
source in the manifest cannot be had in that round.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from pipeline.manifest.catalog import SHIPPED
from pipeline.manifest.corpus import GdriveSource, HttpSource, HubSource, ManualSource, Part, Source
from tests.command import python
from tests.external_files import CORPORA, VARIANTS, Variant, encoded, name_of
from tests.http_double import FileServer, Reply
from tests.hub_double import Commit, HubDouble

ROOT = SHIPPED.parent
#: Bytes of no layout: what is not asked for lies there as this.
UNREADABLE = b"\x00\xff not a row"
WITHOUT_GDOWN = "import sys; sys.modules['gdown'] = None"
#: Drive's host is this machine; the id of a file becomes its path.
DRIVE_IS_HERE = """
import sys
from urllib.parse import parse_qs, urlsplit
import requests
real, base = requests.Session.get, sys.argv.pop(1)

def to_us(session, url, **told):
    asked = urlsplit(url)
    assert asked.hostname in ("drive.google.com", "drive.usercontent.google.com"), url
    answer = real(session, f"{base}/{parse_qs(asked.query)['id'][0]}", **told)
    answer.url = url
    return answer

requests.Session.get = to_us
"""
needs_gdown = pytest.mark.skipif(
    importlib.util.find_spec("gdown") is None, reason="gdown, an extra, is not installed: pip install gdown"
)


def sources(name: str) -> list[Source]:
    return [CORPORA[name].source, *(other.source for other in CORPORA[name].alternates)]


def place(variant: Variant) -> int:
    """Where the variant's source stands in its manifest, and what the receipt calls `alternate`."""
    return 0 if variant.alternate is None else variant.alternate + 1


def source(variant: Variant) -> Source:
    return sources(variant.name)[place(variant)]


def rounds() -> dict[str, list[Variant]]:
    told: defaultdict[str, list[Variant]] = defaultdict(list)
    for variant in VARIANTS:
        is_drive = source(variant).kind == "gdrive"
        before = sources(variant.name)[: place(variant)]
        nth = sum((earlier.kind == "gdrive") == is_drive for earlier in before)
        told[("drive-" if is_drive else "source-") + str(nth)].append(variant)
    return dict(told)


ROUNDS = rounds()


def others(part: Part) -> Iterator[str]:
    """Files that the manifest names for splits it does not take."""
    for split, given in part.files.items():
        if split != "train":
            yield from [given] if isinstance(given, str) else given


def upstream(variant: Variant) -> dict[str, bytes]:
    """The files of a source, archives as real ones; what the train split has no part in is unreadable."""
    plain: dict[str, bytes] = {}
    members: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
    for part, rows in zip(variant.corpus.parts, variant.rows, strict=True):
        for name, content in [(name_of(part), encoded(part, rows)), *((name, UNREADABLE) for name in others(part))]:
            archive, is_inside, member = name.partition("!")
            (members[archive] if is_inside else plain)[member or name] = content
    for archive, inside in members.items():
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in {"db_content.json": UNREADABLE, **inside}.items():
                file.writestr(name, content)
        plain[archive] = packed.getvalue()
    return plain


def loaded(variant: Variant) -> set[str]:
    """Names that a fetcher must ask for: the train files, or the archives that hold them."""
    return {name_of(part).partition("!")[0] for part in variant.corpus.parts}


def mount(hub: HubDouble, of: HubSource, files: dict[str, bytes]) -> None:
    """Files at exactly the commit that the manifest names, with what lies there already."""
    assert of.revision is not None
    commits = hub.repository(of.repo).commits
    held = commits[of.revision].tree if of.revision in commits else {}
    made = commits[hub.commit(of.repo, files)].tree
    commits[of.revision] = Commit(None, held | {name: made[name] for name in files})
    hub.commit(of.repo, dict.fromkeys(files, UNREADABLE))  # the branch has gone on


def put(variant: Variant, hub: HubDouble, server: FileServer, by_hand: Path) -> None:
    """The files of a variant where its source, and no other, has them."""
    of, files = source(variant), upstream(variant)
    if isinstance(of, HubSource):
        mount(hub, of, files)
    elif isinstance(of, HttpSource):
        server.files |= {below(of.base, name): content for name, content in files.items()}
    elif isinstance(of, GdriveSource):
        server.files |= {of.ids[name]: content for name, content in files.items()}
    else:
        assert isinstance(of, ManualSource)
        by_hand.mkdir(parents=True)
        for name in loaded(variant):
            assert name in of.get  # the person is told this name
            (by_hand / name).write_bytes(files[name])


def below(base: str, file: str) -> str:
    """The path of a file below an address, as a server sees it."""
    return f"{urlsplit(base).path.strip('/')}/{file}"


def own_manifests(folder: Path, variants: list[Variant], here: str) -> None:
    """A recipe, and shipped manifests that name the web with `here` in place of scheme and host of each base."""
    for kind in ("corpora", "recipes"):
        (folder / kind).mkdir(parents=True)
    names = [variant.name for variant in variants]
    (folder / "recipes" / "these.yaml").write_text(json.dumps({"name": "these", "corpora": names}))
    for name in names:
        count = sum(of.kind == "http" for of in sources(name))
        if not count:
            continue
        shipped = (SHIPPED / "corpora" / f"{name}.yaml").read_text("utf-8")
        changed, found = re.subn(r'(\bbase: ")https://[^/"]+(?=/)', rf"\g<1>{here}", shipped)
        assert found == count == shipped.count("base:")
        (folder / "corpora" / f"{name}.yaml").write_text(changed, "utf-8")


def build(folder: Path, hub: HubDouble, prelude: str, *words: str) -> dict[str, Any]:
    """What m3e's build says of these manifests, made in a process that knows no other Hub."""
    kept = {name: told for name, told in os.environ.items() if not name.startswith(("HF_", "HUGGING", "M3E"))}
    kept |= {
        "M3E_TEST_LOOPBACK": "1",
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(folder / "hf"),
        "NO_PROXY": "*",
        "COLUMNS": "160",
    }
    places = ["--manifests", folder / "manifests", "--store", folder / "store", "--out", folder / "out"]
    script = f"{prelude}\nfrom pipeline.cli import main; main()"
    done = python(script, *words, "build", "these", "--sample", "50", *places, env=kept)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads((folder / "out" / "these.sample-50" / "build.json").read_bytes())
    return told


def assert_built(folder: Path, built: dict[str, Any], variants: list[Variant], here: str) -> None:
    """No gap, the source that was meant, and the rows that were written down."""
    assert built["gaps"] == []
    out = folder / "out" / "these.sample-50"
    funnel = json.loads((out / "funnel.json").read_bytes())
    assert {told["corpus"]: told["converted"] for told in funnel["corpora"]} == {
        variant.name: len(variant.case.pairs) for variant in variants
    }
    for variant in variants:
        of, lock, before = source(variant), built["lock"][variant.name], sources(variant.name)[: place(variant)]
        assert (lock["kind"], lock["alternate"]) == (of.kind, place(variant))
        assert lock["revision"] == (of.revision if isinstance(of, HubSource) else None)
        assert not isinstance(of, HttpSource) or lock["place"] == here + urlsplit(of.base).path
        assert [file["name"] for file in lock["files"]] == [name_of(part) for part in variant.corpus.parts]
        assert [failed["kind"] for failed in lock.get("failed", [])] == [of.kind for of in before]
        kept = pl.read_parquet(out / "data" / variant.name / "*.parquet").select("text", "text_pos").rows()
        assert set(kept) == {(pair.text, pair.text_pos) for pair in variant.case.pairs if pair.text != pair.text_pos}


# --- the rounds ------------------------------------------------------------------------------------------------------


def test_the_rounds_hold_every_source_of_every_external_manifest() -> None:
    kinds = {name: Counter(source(variant).kind for variant in of) for name, of in ROUNDS.items()}
    assert kinds == {
        "source-0": {"hub": 7, "http": 6, "manual": 1},
        "source-1": {"http": 3, "manual": 4},
        "source-2": {"http": 1},
        "drive-0": {"gdrive": 4},
        "drive-1": {"gdrive": 1},
    }
    assert sum(kinds.values(), Counter()).total() == sum(len(sources(name)) for name in CORPORA)


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_gdown if n.startswith("drive") else ()) for n in ROUNDS])
def test_every_source_builds_through_its_fetcher_and_is_asked_for_nothing_else(
    name: str, server: FileServer, tmp_path: Path
) -> None:
    variants = ROUNDS[name]
    trees, files, web = set[str](), set[str](), set[str]()
    with HubDouble() as hub:
        own_manifests(tmp_path / "manifests", variants, server.base)
        if name.startswith("drive"):
            attached = 'attachment; filename="x.zip"'
            server.always = Reply(headers={"Content-Disposition": attached, "Content-Type": "application/zip"})
        for variant in variants:
            put(variant, hub, server, tmp_path / "store" / "manual" / variant.name)
            for at, tried in enumerate(sources(variant.name)[: place(variant) + 1]):
                names = loaded(Variant(variant.name, at - 1 if at else None))
                if isinstance(tried, HubSource):
                    trees.add(f"/api/datasets/{tried.repo}/tree/{tried.revision}")
                    if tried is source(variant):
                        files |= {f"/datasets/{tried.repo}/resolve/{tried.revision}/{file}" for file in names}
                elif isinstance(tried, HttpSource):
                    web |= {below(tried.base, file) for file in names}
                elif isinstance(tried, GdriveSource) and name.startswith("drive"):
                    web |= set(tried.ids.values())
        built = build(tmp_path, hub, *((DRIVE_IS_HERE, server.base) if name.startswith("drive") else (WITHOUT_GDOWN,)))
        by_hub = {request.path for request in hub.requests if "/datasets/" in request.path}
        by_web = Counter(path for path, _ in server.requests)
    assert_built(tmp_path, built, variants, server.base)
    assert by_hub == trees | files  # the pinned commit, and never a name that moves
    assert by_web == Counter(web)  # each once: an archive that two sources share is loaded once
