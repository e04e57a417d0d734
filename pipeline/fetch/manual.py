"""Files that a person has to fetch: found in a folder of the store, checked, or asked for in one line."""

from __future__ import annotations

from pipeline.errors import SourceError
from pipeline.fetch.downloads import Held
from pipeline.fetch.named import fetch_named, is_page
from pipeline.fetch.order import Order, digest_of, mismatch
from pipeline.manifest.corpus import ManualSource
from pipeline.manifest.lock import without_secrets
from pipeline.source import Fetched


def fetch_manual(order: Order, source: ManualSource) -> Fetched:
    """The wanted files from `<store>/manual/<corpus>/`; each is read once for its sums.

    Raises SourceError when one is missing (what to get, where, and where to put it), has another size or another sum,
    or is a web page saved by mistake.
    """
    folder = order.store.root / "manual" / order.corpus

    def get(name: str) -> Held:
        path = folder / name
        cure = f"get {source.get} from {without_secrets(source.url)} and put it at {path}"
        if not path.exists():
            raise SourceError(order.corpus, f"'{name}' must be fetched by hand and is not there yet", cure)
        if not path.is_file():
            raise SourceError(order.corpus, f"'{name}' among the files fetched by hand is no regular file", cure)
        size, told = path.stat().st_size, source.sizes.get(name)
        if told is not None and size != told:
            cause = f"'{name}', fetched by hand, has {size:,} bytes, but the manifest says {told:,}"
            raise SourceError(order.corpus, cause, cure)
        with path.open("rb") as file:
            if is_page(file.read(512)):
                cause = f"'{name}', fetched by hand, is a web page"
                raise SourceError(order.corpus, cause, cure)
        got = digest_of(path)
        if wrong := got.missed(order.sums(name, source.checksums)):
            raise mismatch(order.corpus, name, wrong, got)
        return Held(path, got.sha256, got.bytes)

    return fetch_named(order, get, "the folder of files fetched by hand")
