"""What `manifests/corpora/<name>.yaml` may say."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import TypeAliasType

from pipeline.licence import Licence

Layout = Literal["parquet", "jsonl", "json-array", "json-object", "squad", "csv", "tsv", "txt"]
Encoding = Literal["utf-8", "utf-8-sig", "gbk", "gb18030"]
Script = Literal["hans", "hant", "mixed", "none"]
Side = Literal["text", "text_pos"]
#: Named cleaners; `pipeline.normalize` implements each, a test holds the two together.
Cleaner = Literal["despace_zh", "br", "consult_wrapper"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Sql = Annotated[str, Field(min_length=1)]
#: split -> pattern(s) relative to the source: `{train: "ocnli/train-*.parquet"}`
Files = dict[str, str | list[str]]

#: A column's type: `string`, `int`, `float`, `bool`, each with `?` where it may be null or absent; `[T]` is a list
#: of T; `{a: T, b: T}` a struct; `{names: [no, yes]}` a label, stored as its number or its name.
ColumnType = TypeAliasType("ColumnType", "str | list[ColumnType] | dict[str, ColumnType]")

SQUAD_COLUMNS: dict[str, object] = {
    "title": "string?",
    "context": "string",
    "context_id": "string?",
    "id": "string?",
    "question": "string",
    "is_impossible": "bool?",
    "answers": ["string"],
}
TXT_COLUMNS: dict[str, object] = {"line": "string"}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSource(Strict):
    """Explicit files of one Hub dataset at one commit; never a loading script.

    `ref` is where a null revision is resolved: the main branch, or the Hub's own parquet conversion of script repos.
    """

    kind: Literal["hub"]
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: str | None = None
    ref: Literal["main", "refs/convert/parquet"] = "main"

    @field_validator("revision")
    @classmethod
    def _pinned(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{40}", value):
            raise ValueError(f"'{value}' moves; give a 40-character commit or null")
        return value


class LocalSource(Strict):
    """Files on this machine; a relative `root` is read from the folder that holds the manifest."""

    kind: Literal["local"]
    root: str


#: `sha256:<64 hex>` or `md5:<32 hex>`.
Checksum = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")]


class HttpSource(Strict):
    """Files below one address; `files` of the parts are names relative to it, without wildcards.

    A name may point into an archive: `DuSQL.zip!DuSQL/train.json`. `redirects` are the hosts, beside that of `base`, that
    the server may send us to.
    """

    kind: Literal["http"]
    base: str
    redirects: list[Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:[0-9]+)?$")]] = []
    checksums: dict[str, Checksum] = {}

    @field_validator("base")
    @classmethod
    def _safe(cls, value: str) -> str:
        # Servers on this machine are for tests, and fetch refuses them elsewhere.
        if not re.match(r"https://[^/]|http://([^/@]*@)?(127\.0\.0\.1|localhost)[:/]", value):
            raise ValueError("only https is fetched; give an address that begins with https://")
        return value


class GdriveSource(Strict):
    """Files of Google Drive by id; `files` of the parts use the names given here, also as `name.zip!member`."""

    kind: Literal["gdrive"]
    ids: dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]]
    checksums: dict[str, Checksum] = {}


class ManualSource(Strict):
    """Files that a person must fetch (a login, a form): what, where, and how to know that they are right."""

    kind: Literal["manual"]
    get: str
    url: str
    sizes: dict[str, int] = {}
    checksums: dict[str, Checksum] = {}


Source = Annotated[HubSource | LocalSource | HttpSource | GdriveSource | ManualSource, Field(discriminator="kind")]


class Select(Strict):
    """One way to make records of a row; every value is a polars SQL expression over the part's columns.

    A list-valued `text` or `text_pos` (not both) explodes into one record per element; `where` leaves rows out.
    """

    text: Sql
    text_pos: Sql
    where: Sql | None = None
    text_neg: Sql | None = None
    prompt: Sql | None = None
    prompt_pos: Sql | None = None
    score: Sql | None = None
    doc_group: Sql | None = None
    quality_score: Sql | None = None


class Labelled(Strict):
    """Rows whose two texts are judged: `match` is a boolean SQL expression, `score` a gold similarity."""

    text: Sql
    other: Sql
    match: Sql | None = None
    score: Sql | None = None
    where: Sql | None = None

    @model_validator(mode="after")
    def _judged(self) -> Labelled:
        if self.match is None and self.score is None:
            raise ValueError("give match, score or both")
        return self


class FileSet(Strict):
    """Files of one layout, with the columns they must have."""

    files: Files
    layout: Layout
    encoding: Encoding = "utf-8"
    header: bool = True
    quote: Literal['"'] | None = None
    path: str | None = None
    columns: dict[str, ColumnType] = {}

    @property
    def typed_columns(self) -> dict[str, ColumnType]:
        """The declared columns, or those the layout brings along (squad, txt)."""
        fixed = {"squad": SQUAD_COLUMNS, "txt": TXT_COLUMNS}.get(self.layout)
        return dict(fixed) if fixed is not None else self.columns  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _fits_its_layout(self) -> FileSet:
        fixed = self.layout in ("squad", "txt")
        if fixed and self.columns:
            raise ValueError(f"layout {self.layout} brings its own columns; leave columns out")
        if not fixed and not self.columns:
            raise ValueError("columns is missing: declare name and type of every column you use")
        if (self.layout == "json-object") != (self.path is not None):
            raise ValueError("path names the key that holds the list; give it for layout json-object, and only there")
        if self.quote and self.layout not in ("csv", "tsv"):
            raise ValueError("quote is for csv and tsv")
        if self.layout == "parquet" and self.encoding != "utf-8":
            raise ValueError("parquet has no text encoding")
        return self


class Part(FileSet):
    """Files of one layout within a corpus, and the records they give."""

    sub_source: str = ""
    select: Select | list[Select] | None = None
    labelled: Labelled | None = None

    @property
    def selects(self) -> list[Select]:
        return [] if self.select is None else self.select if isinstance(self.select, list) else [self.select]

    @model_validator(mode="after")
    def _gives_something(self) -> Part:
        if self.select is None and self.labelled is None:
            raise ValueError("give select, labelled or both")
        return self


class Expect(Strict):
    """Counts of the whole corpus. `measured` numbers must hold; `claimed` ones only warn when they do not."""

    rows: int | None = None
    records: int | None = None
    labelled: int | None = None
    seen: Literal["measured", "claimed"]


class Alternate(Strict):
    """Another place to get the corpus from, tried when those before it cannot be had: with its own files and counts.

    Where `parts` is left out, those of the corpus hold.
    """

    source: Source
    parts: list[Part] | None = None
    expect: Expect | None = None
    note: str | None = None


class Instruction(Strict):
    zh: str
    en: str


class Seed(Strict):
    """The corpus' row in the M3E model card, verbatim; shown, never used for a decision."""

    name: str
    domain: str
    rows: int
    task: str
    prompt: str
    quality: str
    providers: str
    description: str
    open_research: str
    commercial: str
    script: str
    done: str
    url: str
    symmetric: str


class Corpus(Strict):
    """One source of pairs."""

    name: Name
    title: str
    domain: str
    task: str
    prompt: str = ""
    instruction: Instruction | None = None
    grade: Literal["优", "良"]
    symmetric: bool = False
    script: Script = "hans"
    source: Source
    alternates: list[Alternate] = []
    splits: list[str] = ["train"]
    parts: Annotated[list[Part], Field(min_length=1)]
    clean: list[Cleaner] = []
    code_sides: list[Side] = []
    near: bool = True
    weak: bool = False
    instruction_data: bool = False
    max_bad_rows: Annotated[float, Field(ge=0, le=1)] = 0.001
    expect: Expect | None = None
    overlaps: list[str] = []
    enabled: bool = True
    disabled_reason: str | None = None
    licence: Licence
    seed: Seed | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Corpus:
        for part in self.parts:
            if not set(self.splits) & set(part.files):
                raise ValueError(f"no part file for splits {self.splits}; a part has only {sorted(part.files)}")
        if self.name in ("all", "full"):
            raise ValueError(f"{self.name} is the name of a view of every build; choose another")
        if not self.enabled and not self.disabled_reason:
            raise ValueError("enabled: false needs a disabled_reason")
        return self
