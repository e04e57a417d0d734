"""Dedupe: which records are copies, which are near-duplicates, and which texts are the same text under another hand.

Writes evidence only; `pipeline.resolve` decides what goes. See `pipeline.dedupe.stage.dedupe`.
"""

from pipeline.dedupe.pieces import DedupeInput
from pipeline.dedupe.stage import CLASS_SCHEMA, EDGE_SCHEMA, dedupe

__all__ = ["CLASS_SCHEMA", "EDGE_SCHEMA", "DedupeInput", "dedupe"]
