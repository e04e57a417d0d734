"""All manifests of a run, read together: faults of every file at once, names checked across files.

Several folders may be given; a later one adds to and overrides the earlier (users keep their own beside ours).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from pipeline.errors import ManifestError, Problem, UsageError
from pipeline.licence import Terms, Vocabulary, licence_faults
from pipeline.licence.vocabulary import id_faults
from pipeline.manifest import sql
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.columns import parse_columns
from pipeline.manifest.corpus import Corpus, Part
from pipeline.manifest.encoder import EncoderManifest
from pipeline.manifest.recipe import Recipe
from pipeline.manifest.yaml import Document, Key, load, validate

#: The manifests that come with the project.
SHIPPED = Path(__file__).resolve().parents[2] / "manifests"
Named = TypeVar("Named", Corpus, Benchmark, Recipe, EncoderManifest)


@dataclass
class Catalog:
    """What a run may use. `homes` tells the folder that holds each manifest, for sources with a relative root."""

    corpora: dict[str, Corpus] = field(default_factory=dict)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    recipes: dict[str, Recipe] = field(default_factory=dict)
    encoders: dict[str, EncoderManifest] = field(default_factory=dict)
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary(licences={}))
    tombstones: frozenset[str] = frozenset()
    homes: dict[str, Path] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    #: `corpora/bq` for manifests that are there but wrong: what names them is not at fault.
    broken: set[str] = field(default_factory=set)

    def home(self, kind: str, name: str) -> Path:
        return self.homes[f"{kind}/{name}"]

    def recipe(self, name: str) -> Recipe:
        """Raises UsageError, naming the recipes there are."""
        if name not in self.recipes:
            raise UsageError(
                f"recipe {name}",
                "there is no such recipe",
                f"choose one of: {', '.join(sorted(self.recipes)) or 'none found'}",
            )
        return self.recipes[name]


def read_catalog(folders: Sequence[Path], *, shipped: bool = True) -> Catalog:
    """Read and check every manifest of the folders.

    Raises ManifestError with all problems of all files, UsageError for a folder that does not exist.
    """
    catalog, problems = Catalog(), list[Problem]()
    for folder in [SHIPPED, *folders] if shipped else folders:
        if not folder.is_dir():
            raise UsageError(
                str(folder),
                "there is no such folder of manifests",
                "give --manifests a folder that holds corpora/, benchmarks/ or recipes/",
            )
        problems += _read_folder(folder, catalog)
    problems += _cross_check(catalog)
    if problems:
        raise ManifestError(problems)
    return catalog


def _read_folder(folder: Path, catalog: Catalog) -> list[Problem]:
    problems = [
        *_read_kind(folder, "corpora", Corpus, catalog.corpora, catalog),
        *_read_kind(folder, "benchmarks", Benchmark, catalog.benchmarks, catalog),
        *_read_kind(folder, "recipes", Recipe, catalog.recipes, catalog),
        *_read_kind(folder, "encoders", EncoderManifest, catalog.encoders, catalog),
    ]
    if (path := folder / "licences.yaml").exists():
        document = load(path, _shown(path))
        vocabulary = validate(document, Vocabulary)
        problems += document.problems
        if vocabulary is not None:
            problems += [document.problem(key, told) for key, told in id_faults(vocabulary)]
            catalog.vocabulary = Vocabulary(licences={**catalog.vocabulary.licences, **vocabulary.licences})
    if (path := folder / "tombstones.txt").exists():
        catalog.tombstones |= frozenset(_tombstones(path, problems))
    return problems


def _read_kind(folder: Path, kind: str, model: type[Named], into: dict[str, Named], catalog: Catalog) -> list[Problem]:
    problems: list[Problem] = []
    in_this_folder: dict[str, str] = {}
    for path in sorted((folder / kind).glob("*.y*ml")):
        document = load(path, _shown(path))
        found = validate(document, model)
        problems += document.problems
        if found is None:
            catalog.broken |= (
                {f"{kind}/{document.value['name']}"}
                if isinstance(document.value, dict) and "name" in document.value
                else set()
            )
            continue
        name = found.name
        if name in in_this_folder:
            told = f"{name} is already the name of {in_this_folder[name]}; choose another"
            problems.append(document.problem(("name",), told))
        in_this_folder[name] = document.file
        into[name] = found
        catalog.homes[f"{kind}/{name}"] = path.parent
        catalog.documents[f"{kind}/{name}"] = document
    return problems


def _tombstones(path: Path, problems: list[Problem]) -> Iterator[str]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        word = line.split("#", 1)[0].strip().lower()
        if not word:
            continue
        if len(word) not in (16, 32) or set(word) - set("0123456789abcdef"):
            problems.append(
                Problem(
                    _shown(path),
                    number,
                    1,
                    "",
                    "give a record_id (32 hex digits) or the hash of a match key (16 hex digits)",
                )
            )
            continue
        yield word


def _cross_check(catalog: Catalog) -> Iterator[Problem]:
    for name, corpus in catalog.corpora.items():
        document = catalog.documents[f"corpora/{name}"]
        blocks: list[tuple[Key, Terms]] = [(("licence",), corpus.licence)]
        blocks += [(("licence", "sub_sources", sub), terms) for sub, terms in corpus.licence.sub_sources.items()]
        yield from _licence_problems(blocks, document, catalog.vocabulary)
        yield from _part_problems(corpus, corpus.parts, ("parts",), document)
        for i, alternate in enumerate(corpus.alternates):
            yield from _part_problems(corpus, alternate.parts or [], ("alternates", i, "parts"), document)
    for name, encoder in catalog.encoders.items():
        document = catalog.documents[f"encoders/{name}"]
        yield from _licence_problems([(("licence",), encoder.licence)], document, catalog.vocabulary)
    holder: dict[str, str] = {}
    for name, benchmark in catalog.benchmarks.items():
        document = catalog.documents[f"benchmarks/{name}"]
        if (other := holder.setdefault(benchmark.task, name)) != name:
            yield document.problem(
                ("task",), f"{benchmark.task} is already the task of benchmark {other}; give each its own"
            )
        for i, of in enumerate(benchmark.parts):
            yield from _column_problems(document, ("parts", i, "columns"), of.typed_columns)
            for at, model in of.expressions:
                yield from _sql_problems(document, ("parts", i, *at), model, of.typed_columns)
    for name, recipe in catalog.recipes.items():
        document = catalog.documents[f"recipes/{name}"]
        if isinstance(recipe.corpora, list):
            for i, wanted in enumerate(recipe.corpora):
                if wanted not in catalog.corpora and f"corpora/{wanted}" not in catalog.broken:
                    yield document.problem(("corpora", i), f"there is no corpus {wanted}; run: m3e corpora")
        names = set(catalog.benchmarks) | {suite for b in catalog.benchmarks.values() for suite in b.suites}
        for i, wanted in enumerate(recipe.decontaminate.benchmarks):
            if wanted not in names:
                yield document.problem(("decontaminate", "benchmarks", i), f"there is no benchmark or suite {wanted}")
        if recipe.base is not None and recipe.base not in catalog.recipes:
            yield document.problem(("base",), f"there is no recipe {recipe.base}")
        elif recipe.base is not None and catalog.recipes[recipe.base].base is not None:
            yield document.problem(("base",), f"{recipe.base} has a base itself; name one that builds from corpora")
        used: list[tuple[Key, str | None]] = [(("encoder",), recipe.encoder), (("mine", "veto"), recipe.mine.veto)]
        used += [(("score", "cross_encoder"), recipe.score.cross_encoder)]
        used += [(("consistency", "encoder"), recipe.consistency.encoder)] if recipe.consistency else []
        for key, wanted_encoder in used:
            if wanted_encoder and not {f"encoders/{wanted_encoder}"} & {*catalog.broken, *catalog.documents}:
                there = ", ".join(sorted(catalog.encoders))
                yield document.problem(key, f"there is no encoder {wanted_encoder}; choose among: {there}")


def _part_problems(corpus: Corpus, parts: Sequence[Part], base: Key, document: Document) -> Iterator[Problem]:
    known = corpus.licence.sub_sources
    for i, part in enumerate(parts):
        at = (*base, i)
        yield from _column_problems(document, (*at, "columns"), part.typed_columns)
        if part.sub_source and known and part.sub_source not in known:
            yield document.problem((*at, "sub_source"), f"licence.sub_sources has no {part.sub_source}; add its terms")
        for j, select in enumerate(part.selects):
            key: Key = (*at, "select", j) if isinstance(part.select, list) else (*at, "select")
            yield from _sql_problems(document, key, select, part.typed_columns)
        if part.labelled is not None:
            yield from _sql_problems(document, (*at, "labelled"), part.labelled, part.typed_columns)


def _licence_problems(
    blocks: Sequence[tuple[Key, Terms]], document: Document, vocabulary: Vocabulary
) -> Iterator[Problem]:
    for base, terms in blocks:
        yield from (document.problem((*base, *key), told) for key, told in licence_faults(terms, vocabulary))


def _column_problems(document: Document, base: Key, columns: Mapping[str, object]) -> Iterator[Problem]:
    for name, told in columns.items():
        try:
            parse_columns({name: told})
        except ValueError as error:
            yield document.problem((*base, name), str(error))


def _sql_problems(document: Document, base: Key, model: BaseModel, columns: Mapping[str, object]) -> Iterator[Problem]:
    for name, expression in model:
        if not isinstance(expression, str) or name == "role":
            continue
        for column in sql.unknown_columns(expression, columns):
            yield document.problem((*base, name), f"column {column} is not declared; declared are {', '.join(columns)}")
        yield from (document.problem((*base, name), told) for told in sql.unknown_labels(expression, columns))


def _shown(path: Path) -> str:
    """The path as a user would type it."""
    absolute = path.resolve()
    try:
        return absolute.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return absolute.as_posix()
