"""The papers of a build as an entry of the store, so that a build in which nothing changed renders none of them."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.ledger import Funnel, Leak
from pipeline.manifest.corpus import Corpus
from pipeline.store import Receipt, Store, stage_key

#: What writes them: templates into Markdown, and the card's YAML.
RENDERING = ("huggingface_hub", "jinja2", "PyYAML")
TEMPLATES = Path(__file__).parent / "templates"


def papers_of(
    store: Store,
    inputs: Sequence[str],
    corpora: Sequence[Corpus],
    receipt: Mapping[str, Any],
    funnels: Sequence[Funnel],
    leaks: Sequence[Leak],
) -> dict[str, bytes]:
    """The card and the attributions (file name -> content), found in the store or rendered now.

    `inputs`: keys of the entries that the build is made of. Everything the papers tell is part of the address: what is
    given here, the code, the templates, what renders them.
    """
    told = {
        "corpora": [corpus.model_dump(mode="json") for corpus in corpora],
        "receipt": receipt,
        "funnels": [funnel.told() for funnel in funnels],
        "leaks": [vars(leak) for leak in leaks],
        "templates": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(TEMPLATES.glob("*.md.jinja"))},
        "rendering": {name: importlib.metadata.version(name) for name in RENDERING},
    }

    def work(out: Path) -> Receipt:
        from pipeline.card import render_attribution, render_card

        (out / "README.md").write_bytes(render_card(corpora, receipt, funnels, leaks=leaks).encode())
        (out / "ATTRIBUTION.md").write_bytes(render_attribution(corpora).encode())
        return {}

    entry = store.run("papers", stage_key("papers", "pipeline.card", told, inputs), work, inputs)
    return {name: (entry.path / name).read_bytes() for name in entry.files}
