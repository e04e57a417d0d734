"""The double against the real client: what huggingface_hub and datasets push they read back, and faults bite."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import python
from tests.hub_uploads import UploadDouble

TOKEN = "hf_canaryCANARYcanary"
CHILD = """
import json, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd as Add, CommitOperationDelete as Delete, HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
api, told, folder = HfApi(), {}, Path(sys.argv[1])
big = folder / "big.parquet"
big.write_bytes(bytes(range(256)) * 4000)

def status(call):
    try:
        return call()
    except HfHubHTTPError as error:
        return error.response.status_code

def commit(*operations, repo="alice/pairs", kind="dataset", **more):
    return api.create_commit(repo, list(operations), commit_message="m", repo_type=kind, **more)

api.create_repo("alice/pairs", repo_type="dataset", private=True)
told["private"] = api.repo_info("alice/pairs", repo_type="dataset").private
start = api.repo_info("alice/pairs", repo_type="dataset").sha
first = commit(Add("data/big.parquet", str(big)), Add("README.md", b"# hello"), parent_commit=start)
told["again"] = commit(Add("data/big.parquet", str(big)), Add("README.md", b"# hello")).oid == first.oid
told["stale"] = status(lambda: commit(Add("README.md", b"# other"), parent_commit=start))
told["tree"] = {f.path: [f.size, f.lfs and f.lfs.sha256] for f in
                api.list_repo_tree("alice/pairs", recursive=True, repo_type="dataset") if hasattr(f, "size")}
told["gone"] = status(lambda: commit(Delete("nothing.txt")))
request = commit(Add("README.md", b"# proposed"), create_pr=True)
told["pr"] = request.pr_num
api.create_tag("alice/pairs", tag="v1", revision=first.oid, repo_type="dataset")
told["tagged twice"] = status(lambda: api.create_tag("alice/pairs", tag="v1", repo_type="dataset"))
refs = api.list_repo_refs("alice/pairs", repo_type="dataset", include_pull_requests=True)
told["tags"] = [[t.name, t.target_commit == first.oid] for t in refs.tags]
told["prs"] = [r.ref for r in refs.pull_requests]
read = lambda path, revision: Path(hf_hub_download("alice/pairs", path, repo_type="dataset", revision=revision)).read_bytes()
told["read"] = [read("README.md", "refs/pr/1").decode(), read("README.md", "v1").decode()]
told["same"] = read("data/big.parquet", "v1") == big.read_bytes()
api.create_repo("alice/model", repo_type="model")
commit(Add("model.bin", str(big)), repo="alice/model", kind="model")
told["model"] = Path(hf_hub_download("alice/model", "model.bin")).read_bytes() == big.read_bytes()
sys.stdout.write(json.dumps(told))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UploadDouble]:
    with UploadDouble(xet=tmp_path_factory.mktemp("xet")) as double:
        yield double


def run(hub: UploadDouble, folder: Path, **environment: str) -> dict[str, Any]:
    hub.reset()
    hub.tokens[TOKEN] = "alice"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    told = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hf"), "HF_TOKEN": TOKEN, "NO_PROXY": "*"}
    done = python(CHILD, folder, env=kept | told | environment)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("storage", ["lfs", "xet"])
def test_the_real_client_reads_back_what_it_pushed(hub: UploadDouble, tmp_path: Path, storage: str) -> None:
    told = run(hub, tmp_path, **({"HF_HUB_DISABLE_XET": "1"} if storage == "lfs" else {}))
    tree = told.pop("tree")
    assert {path: told[0] for path, told in tree.items()} == {
        ".gitattributes": tree[".gitattributes"][0],
        "README.md": 7,
        "data/big.parquet": 1_024_000,
    }
    assert [path for path, (_, sha256) in tree.items() if sha256] == ["data/big.parquet"]
    assert told == {
        "private": True,
        "again": True,
        "stale": 412,
        "gone": 404,
        "pr": 1,
        "tagged twice": 409,
        "tags": [["v1", True]],
        "prs": ["refs/pr/1"],
        "read": ["# proposed", "# hello"],
        "same": True,
        "model": True,
    }
    assert bool(hub.objects) == (storage == "lfs")
    assert len(hub.history("alice/pairs")) == 2
    assert not any("authorization" in r.headers for r in hub.requests if "/_lfs/" in r.path)
