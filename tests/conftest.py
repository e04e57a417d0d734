"""What several test modules share: where real slices lie, and small manifests to build from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_httpserver import HTTPServer

from tests.http_double import FileServer

if TYPE_CHECKING:
    from pipeline.build import Outcome

ROOT = Path(__file__).resolve().parents[1]
# Files are served from this machine, which fetch refuses to ask otherwise.
os.environ["M3E_TEST_LOOPBACK"] = "1"
#: Modules that take longest, longest first. Workers take modules in this order, so that none starts a long one last.
LONGEST = (
    "flows",
    "docs",
    "benchmarks",
    "real",
    "train",
    "dedupe",
    "evaluate_hub",
    "hardening_process",
    "external_fetch",
    "publish",
    "scoring",
    "convert",
    "mine",
    "publish_release",
    "archive",
    "lock",
    "cli",
    "docstrings",
    "licence_flow",
    "build",
    "recut",
    "export",
)


def corpora_folder() -> Path | None:
    """Real corpus slices, when this machine has them: M3E_SHARED, or `shared/corpora` beside the checkout."""
    given = os.environ.get("M3E_SHARED")
    folder = Path(given) if given else ROOT.parent / "shared" / "corpora"
    return folder if folder.is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules first; within a module the order is that of the file."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def real_corpora() -> Path:
    folder = corpora_folder()
    if folder is None:
        pytest.skip("no real corpus slices here (../shared/corpora or M3E_SHARED)")
    return folder


@pytest.fixture(scope="session")
def make_httpserver() -> Iterator[HTTPServer]:
    """pytest-httpserver's one server for all tests; several corpora are loaded at a time."""
    with HTTPServer("127.0.0.1", threaded=True) as started:
        yield started


@pytest.fixture
def server(httpserver: HTTPServer) -> Iterator[FileServer]:
    """A file server without files."""
    yield FileServer(httpserver)
    httpserver.check_handler_errors()


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A small build with something for every section of the report page; nobody may change it."""
    from tests.test_report import built, manifests_in

    folder = tmp_path_factory.mktemp("it's a build")
    return built(manifests_in(folder / "manifests"), folder)
