"""Sources whose files are named one by one: no listing, so no wildcards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from pipeline.errors import SourceError
from pipeline.fetch.downloads import Held
from pipeline.fetch.match import choose
from pipeline.fetch.order import Order
from pipeline.source import Fetched, SourceFile

#: What a wrong download begins with: a page that says log in, too many readers, or not found.
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<script")


def fetch_named(order: Order, get: Callable[[str], Held], place: str, known: Collection[str] | None = None) -> Fetched:
    """Each wanted file through `get`, once; `known` are the names there are, where the manifest lists them.

    Raises SourceError for a pattern with wildcards or a name that is not known.
    """

    def find(pattern: str) -> Iterable[str]:
        if known is not None:
            return [pattern] if pattern in known else []
        if "*" in pattern or "?" in pattern:
            cause = f"'{pattern}' has wildcards, but {place} cannot be listed"
            raise SourceError(order.corpus, cause, "name each file")
        return [pattern]

    chosen = choose(order.corpus, order.wanted, find, lambda: known or (), place)
    held = {name: get(name) for name in dict.fromkeys(name for _, _, name in chosen)}
    files = (
        SourceFile(part, split, name, held[name].path, held[name].sha256, held[name].bytes)
        for part, split, name in chosen
    )
    return Fetched(None, tuple(files))


def is_page(head: bytes) -> bool:
    """True when a file that should hold data opens like a web page.

    >>> is_page(b"\\n<!DOCTYPE html><html>"), is_page(b'[{"question": "<html>"}]')
    (True, False)
    """
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES)
