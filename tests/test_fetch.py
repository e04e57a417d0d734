"""Fetch from local folders, and what patterns mean everywhere."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.fetch import Fetched, Wanted, fetch
from pipeline.fetch.match import matches
from pipeline.manifest.corpus import LocalSource
from pipeline.store import Store


def local(home: Path, *wanted: Wanted, root: str = "src") -> Fetched:
    return fetch("toy", LocalSource(kind="local", root=root), wanted, home, Store(home / ".m3e"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("d/x-10.txt", "d/x-2.txt", "d/x-1.txt", "d/deep/x-3.txt", "dev.txt", "中 文.txt", "d/[1].txt"):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def test_local_files_come_by_part_split_and_natural_name_each_once(home: Path) -> None:
    fetched = local(
        home,
        Wanted(1, "train", ("中 文.txt",)),
        Wanted(0, "train", ("d/x-*.txt", "d/*-1.txt", "d/x-?.txt")),
        Wanted(0, "dev", ("dev.txt",)),
    )
    assert [(f.part, f.split, f.name) for f in fetched.files] == [
        (0, "train", "d/x-1.txt"),
        (0, "train", "d/x-2.txt"),
        (0, "train", "d/x-10.txt"),
        (0, "dev", "dev.txt"),
        (1, "train", "中 文.txt"),
    ]
    assert fetched.revision is None
    for file in fetched.files:
        content = file.name.encode()
        assert (file.sha256, file.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
        assert file.path.read_bytes() == content


def test_local_root_may_be_absolute_and_the_same_file_may_serve_two_parts(home: Path) -> None:
    one, two = local(
        home, Wanted(0, "train", ("dev.txt",)), Wanted(1, "train", ("dev.txt",)), root=str(home / "src")
    ).files
    assert (one.part, two.part, one.path) == (0, 1, two.path)


def test_a_name_with_brackets_is_first_a_name(home: Path) -> None:
    assert [f.name for f in local(home, Wanted(0, "train", ("d/[1].txt",))).files] == ["d/[1].txt"]


def test_the_order_does_not_hang_on_the_folder(home: Path) -> None:
    other = Path(tempfile.mkdtemp(dir=home))
    for path in sorted((home / "src").rglob("*.txt"), reverse=True):
        copy = other / path.relative_to(home / "src")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    wanted = Wanted(0, "train", ("**/*.txt",))
    names = [[f.name for f in local(home, wanted, root=root).files] for root in ("src", str(other))]
    assert names[0] == names[1]
    assert len(names[0]) == 7


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("dve.txt", r"toy: no file matches 'dve\.txt' in .*/src\. Cure: .*nearest names there are: 'dev\.txt'"),
        ("*.parquet", r"no file matches '\*\.parquet'.*names there are: '"),
        ("../src/dev.txt", "not a plain path below the source"),
        ("/etc/passwd", "not a plain path below the source"),
        ("d/./x-1.txt", "not a plain path below the source"),
        ("d\\x-1.txt", "not a plain path below the source"),
        ("", "not a plain path below the source"),
        ("d", r"'d' in .*/src is a folder\. Cure: .*'d/\*'"),
        ("gone.lnk", "gone.lnk is a link to nothing"),
        ("pip*", "pipe is no regular file"),
    ],
)
def test_local_patterns_that_give_no_file_say_why(home: Path, pattern: str, told: str) -> None:
    (home / "src" / "gone.lnk").symlink_to("nowhere")
    os.mkfifo(home / "src" / "pipe")
    with pytest.raises(SourceError, match=told) as caught:
        local(home, Wanted(0, "train", (pattern,)))
    assert not caught.value.transient


def test_a_missing_root_and_a_file_in_two_splits_are_refused(home: Path) -> None:
    with pytest.raises(SourceError, match=r"the folder .*/nowhere does not exist"):
        local(home, Wanted(0, "train", ("*",)), root="nowhere")
    with pytest.raises(SourceError, match=r"'dev\.txt' is wanted by both split train and split dev"):
        local(home, Wanted(0, "train", ("*.txt",)), Wanted(0, "dev", ("dev.txt",)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_sentence(home: Path) -> None:
    (home / "src" / "dev.txt").chmod(0)
    with pytest.raises(SourceError, match=r"dev\.txt cannot be read: Permission denied"):
        local(home, Wanted(0, "train", ("dev.txt",)))


STEP = st.text("ab1.", min_size=1, max_size=3).filter(lambda step: step not in (".", ".."))
NAME = st.lists(STEP, min_size=1, max_size=3).map("/".join)
PATTERN = st.lists(st.text("ab1.*?", min_size=1, max_size=3) | st.just("**"), min_size=1, max_size=3)


def fits(name: str, pattern: list[str]) -> bool:
    """The same meaning, told as one regular expression."""
    told = "/".join(pattern)
    told = re.escape(told).replace(r"\*\*/", "(?:[^/]+/)*")
    told = re.sub(r"(^|/|\*)\\\*\\\*$", r"\1.+", told)
    return re.fullmatch(told.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"), name) is not None


@settings(max_examples=150, deadline=None)
@given(
    names=st.sets(NAME, min_size=1, max_size=6),
    pattern=PATTERN.filter(lambda steps: all(step == "**" or "**" not in step for step in steps)),
)
def test_folders_and_listings_give_patterns_one_meaning(names: set[str], pattern: list[str]) -> None:
    files = {name for name in names if not any(other.startswith(f"{name}/") for other in names)}
    expected = {name for name in files if fits(name, pattern)}
    assert {name for name in files if matches(name, "/".join(pattern))} == expected
    if {".", ".."} & set(pattern):
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in files:
            path = Path(folder, "src", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        try:
            found = {file.name for file in local(Path(folder), Wanted(0, "train", ("/".join(pattern),))).files}
        except SourceError:
            found = set()
        assert found == expected
