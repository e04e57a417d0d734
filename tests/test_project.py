"""What holds of the whole project: sizes, heavy imports, dependencies, licence vocabulary, counts of real slices."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from license_expression import get_spdx_licensing
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

import pipeline
from pipeline.licence import Licence, Terms, Vocabulary
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for folder in ("pipeline", "flows") for path in (ROOT / folder).rglob("*.py"))
HEAVY = {"accelerate", "mteb", "sentence_transformers", "torch", "transformers", "triton"}
HEAVY_ROOMS = {"encode", "evaluate", "train"}
MAX_LINES = 350
MACHINE_PATH = re.compile(r"(?<![\w.~*-])/(?:root|work|home/[a-z]\w*|Users/[A-Za-z]\w*|opt/(?:pypi|wheels))(?:/|\b)")
REGISTRY_HOST = re.compile(r"pypi\.(?:org|python)|pythonhosted\.org|registry\.npmjs|download\.pytorch|deb\.debian")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def manifests(kind: str) -> list[Path]:
    return sorted(path for home in ("manifests", "tests/real") for path in (ROOT / home / kind).glob("*.yaml"))


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text("utf-8"))


def project_files() -> list[Path]:
    """Tracked files and those about to be."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if told.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    return [path for name in told.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of all imports, those inside functions too.

    >>> sorted(imported(ast.parse("import torch.nn; from numpy import array")))
    ['numpy', 'torch']
    """
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def test_modules_stay_small() -> None:
    assert MODULES
    long = {
        str(path.relative_to(ROOT)): lines
        for path in MODULES
        if (lines := path.read_text("utf-8").count("\n")) > MAX_LINES
    }
    assert not long, f"split by noun: {long}"


def test_heavy_imports_stay_in_their_rooms() -> None:
    strays = {}
    for path in MODULES:
        room = path.relative_to(ROOT).with_suffix("").parts[1]
        if heavy := imported(ast.parse(path.read_text("utf-8"))) & HEAVY and room not in HEAVY_ROOMS:
            strays[str(path.relative_to(ROOT))] = heavy
    assert not strays


def test_no_file_names_this_machine_or_a_registry() -> None:
    found = []
    for path in project_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for pattern in (MACHINE_PATH, REGISTRY_HOST):
            found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert not found


@pytest.mark.parametrize("told", ["/" + "root/x", "see /" + "work/main", "/" + "home/ann/a", "/" + "opt/wheels"])
def test_machine_paths_are_recognised(told: str) -> None:
    assert MACHINE_PATH.search(told)


@pytest.mark.parametrize(
    "told", ["../shared/corpora", "https://a.example/work/b", "make PYTHON=/path/to/python", "/tmp/x"]
)
def test_other_paths_are_not(told: str) -> None:
    assert not MACHINE_PATH.search(told)


def test_constraints_cover_every_dependency() -> None:
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert name not in pinned, f"{name} is pinned twice"
            pinned[name] = version
    told = project()["project"]
    declared = told["dependencies"] + [each for extra in told["optional-dependencies"].values() for each in extra]
    for requirement in map(Requirement, declared):
        if requirement.name != told["name"]:
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_version_is_told_once_and_the_same() -> None:
    assert "version" in project()["project"]["dynamic"]
    assert read(ROOT / "CITATION.cff")["version"] == pipeline.__version__


def test_licences_are_a_vocabulary_of_known_ids() -> None:
    vocabulary = Vocabulary.model_validate(read(ROOT / "manifests" / "licences.yaml"))
    known = get_spdx_licensing().known_symbols
    for licence_id, entry in vocabulary.licences.items():
        assert licence_id in known or licence_id.startswith("LicenseRef-") or licence_id == "NOASSERTION", licence_id
        assert entry.url is None or entry.url.startswith(("https://", "http://"))
        if "-NC-" in licence_id:
            assert entry.commercial.value == "forbidden"
        if "-SA-" in licence_id:
            assert entry.share_alike


@pytest.mark.parametrize("path", manifests("corpora"), ids=lambda path: path.stem)
def test_corpus_manifest_keeps_to_the_vocabulary(path: Path) -> None:
    vocabulary = Vocabulary.model_validate(read(ROOT / "manifests" / "licences.yaml"))
    corpus = Corpus.model_validate(read(path))
    assert corpus.name == path.stem
    blocks: list[Licence | Terms] = [corpus.licence, *corpus.licence.sub_sources.values()]
    for terms in blocks:
        for licence_id in get_spdx_licensing().license_keys(terms.spdx):
            entry = vocabulary.licences[licence_id]
            assert terms.commercial.rank >= entry.commercial.rank or terms.basis == "own"
            assert terms.redistribute.rank >= entry.redistribute.rank or terms.basis == "own"
            assert terms.share_alike or not entry.share_alike or terms.commercial.value == "forbidden"
        assert set(terms.underlying) <= set(vocabulary.licences)


@pytest.mark.parametrize("path", manifests("benchmarks") + manifests("recipes"), ids=lambda path: path.stem)
def test_benchmarks_and_recipes_validate(path: Path) -> None:
    model = Benchmark if path.parent.name == "benchmarks" else Recipe
    assert model.model_validate(read(path)).name == path.stem


@pytest.fixture(scope="module")
def counts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_counts", ROOT / "tests" / "real" / "counts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_real_corpus_is_counted_and_in_the_recipe(counts: ModuleType) -> None:
    names = {path.stem for path in (ROOT / "tests/real/corpora").glob("*.yaml")}
    assert names == set(counts.CORPORA)
    assert sorted(read(ROOT / "tests/real/recipes/real.yaml")["corpora"]) == sorted(names)


@pytest.mark.parametrize("path", sorted((ROOT / "tests/real/corpora").glob("*.yaml")), ids=lambda path: path.stem)
def test_expected_counts_of_real_slices_are_the_independent_ones(path: Path, counts: ModuleType) -> None:
    if not counts.slices().is_dir():
        pytest.skip("the real slices are absent: set M3E_SHARED to their folder")
    got = counts.count(counts.CORPORA[path.stem](counts.slices()))
    expect = read(path)["expect"]
    assert expect == {"rows": got.rows, "records": got.records, "labelled": got.labelled, "seen": "measured"}
