"""YAML with the place of every value, and pydantic's faults told at that place.

Built on ruamel.yaml's composer (C parser): nodes carry line and column, so duplicate keys, aliases and every fault a
model finds can be named by file:line:column, all of them at once. YAML 1.2: `no` is a string, `1:30` is a string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.cyaml import CParser  # type: ignore[attr-defined]
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipeline.errors import Problem

MAX_BYTES = 1 << 18
MAX_DEPTH = 32
#: So deep nothing recurses into trouble; what lies between is told with its place.
SAFE_DEPTH = 200
#: A longer plain value is no number.
MAX_SCALAR = 300
#: Values and keys of one file; and faults that are told of it.
MAX_NODES, MAX_PROBLEMS = 50_000, 200
Place = tuple[int, int]
Key = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

_SCALARS: list[tuple[re.Pattern[str], Any]] = [
    (re.compile(r"(?:~|null|Null|NULL|)"), lambda _: None),
    (re.compile(r"(?:true|True|TRUE)"), lambda _: True),
    (re.compile(r"(?:false|False|FALSE)"), lambda _: False),
    (re.compile(r"[-+]?[0-9][0-9_]*"), lambda s: int(s.replace("_", ""))),
    (re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"), float),
]
#: Tags that may be written out: they say nothing that the value does not.
_TAGS = {"str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq", ""}


@dataclass
class Document:
    """A parsed file: plain values, the place of every value and key, and the faults of the YAML itself."""

    file: str
    value: Any
    places: dict[Key, Place]
    problems: list[Problem]
    seen: set[int] = field(default_factory=set, repr=False)
    is_cut: bool = field(default=False, repr=False)

    def at(self, key: Key) -> Place:
        """The place of a value, or of the nearest thing around it that the file holds."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, (1, 1))

    def problem(self, key: Key, message: str) -> Problem:
        line, column = self.at(key)
        return Problem(self.file, line, column, ".".join(map(str, key)), message)


class _Composer(CParser):  # type: ignore[misc]
    """The tree as the C parser builds it, with no tag but those written by hand: `_scalar` says what a plain value is."""

    def resolve(self, *_: object) -> str:
        return ""

    def descend_resolver(self, *_: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


def load(path: Path, shown: str) -> Document:
    """Read one manifest; `shown` is the file name that messages use. Never raises on bad content."""
    document = Document(shown, None, {(): (1, 1)}, [])
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ValueError(f"{len(raw):,} bytes; a manifest has at most {MAX_BYTES:,}")
        text = raw.decode("utf-8")
        node = None if _is_too_deep(text, document) else _Composer(text).get_single_node()
    except UnicodeDecodeError as error:
        document.problems.append(document.problem((), f"not UTF-8 (byte {error.start}); save the file as UTF-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        document.problems.append(Problem(shown, line, column, "", f"not YAML: {error.problem or error.context}"))
    except (ValueError, YAMLError, OSError) as error:
        document.problems.append(document.problem((), f"cannot be read: {error}"))
    else:
        if node is None and not document.problems:
            document.problems.append(document.problem((), "the file is empty"))
        elif node is not None:
            document.value = _value(node, (), document, set())
    return document


def validate(document: Document, model: type[Model]) -> Model | None:
    """The model, or None with every fault added to `document.problems`."""
    if document.problems:
        return None
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        for fault in error.errors():
            key = tuple(step for step in fault["loc"] if _is_in_file(step, fault["loc"], document))
            if (told := fault.get("ctx", {}).get("key")) and (*key, told) in document.places:
                key = (*key, told)  # a model's own check that blames one of its keys
            document.problems.append(document.problem(key, _sentence(fault, key)))
    return None


def _value(node: Node, key: Key, document: Document, above: set[int]) -> Any:
    document.places[key] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if id(node) in above or len(above) > MAX_DEPTH:
        document.problems.append(document.problem(key, f"nested in itself or deeper than {MAX_DEPTH} levels"))
        return None
    if id(node) in document.seen:  # the C parser keeps no anchors, but an alias is the same node again
        document.problems.append(document.problem(key, "anchors and aliases are not allowed; write the value out"))
        return None
    document.seen.add(id(node))
    if len(document.seen) > MAX_NODES or len(document.problems) >= MAX_PROBLEMS:
        if not document.is_cut:
            told = f"more than {MAX_NODES:,} values or {MAX_PROBLEMS} faults; the rest was not read"
            document.problems.append(document.problem(key, told))
        document.is_cut = True
        return None
    if (node.tag or "").removeprefix("tag:yaml.org,2002:") not in _TAGS:
        document.problems.append(document.problem(key, f"tag {node.tag} is not allowed"))
        return None
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if isinstance(node, SequenceNode):
        return [_value(child, (*key, i), document, above | {id(node)}) for i, child in enumerate(node.value)]
    assert isinstance(node, MappingNode)
    mapping: dict[str, Any] = {}
    for name_node, child in node.value:
        document.seen.add(id(name_node))
        if document.is_cut:
            break
        place = (name_node.start_mark.line + 1, name_node.start_mark.column + 1)
        name = str(name_node.value)
        if name in mapping:
            told = ".".join(map(str, (*key, name)))
            document.problems.append(Problem(document.file, *place, told, "given twice; keep one"))
            document.is_cut = len(document.problems) >= MAX_PROBLEMS
            continue
        mapping[name] = _value(child, (*key, name), document, above | {id(node)})
        if mapping[name] is None or isinstance(child, MappingNode | SequenceNode):
            document.places[(*key, name)] = place
    return mapping


def _scalar(node: ScalarNode) -> Any:
    text = str(node.value)
    if node.style in ("'", '"', "|", ">") or len(text) > MAX_SCALAR:
        return text
    for pattern, convert in _SCALARS:
        if pattern.fullmatch(text):
            return convert(text)
    return text


def _is_too_deep(text: str, document: Document) -> bool:
    """Is anything nested so deep that composing it, which recurses in C, could end the process? Then it is told."""
    # A block inside another begins further right, or is a list under its key; whatever else nests has a bracket.
    indent = max((len(found) for found in re.findall(r"^[ \t?:-]+", text, re.MULTILINE)), default=0)
    if 2 * indent + text.count("[") + text.count("{") < SAFE_DEPTH:
        return False
    depth = 0
    for event in YAML(typ="safe", pure=False).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > SAFE_DEPTH:
            place = (event.start_mark.line + 1, event.start_mark.column + 1)
            document.problems.append(Problem(document.file, *place, "", f"nested deeper than {MAX_DEPTH} levels"))
            return True
    return False


def _is_in_file(step: str | int, loc: tuple[str | int, ...], document: Document) -> bool:
    """pydantic puts names of union members (`list[Select]`, `hub`) between keys; the file does not hold them."""
    if isinstance(step, int):
        return True
    plain = not re.search(r"[\[\](),-]|^function|^(?:Select|Chosen|HubSource|LocalSource|ColumnType)$", step)
    held = any(step in key for key in document.places)
    return held or (plain and step == loc[-1] and step not in ("hub", "local", "str", "int"))


def _sentence(fault: Any, key: Key) -> str:
    kind, message = fault["type"], str(fault["msg"])
    if kind == "extra_forbidden":
        return "unknown key; see manifests/schema for the keys there are"
    if kind == "missing":
        return "missing"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    got = fault.get("input")
    shown = f"; found {got!r}" if isinstance(got, str | int | float | bool) or got is None else ""
    return message[:1].lower() + message[1:] + shown
