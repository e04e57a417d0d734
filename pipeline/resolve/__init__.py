"""Resolve: from every stage's marks and edges to one decision per record; see `pipeline.resolve.stage.resolve`."""

from pipeline.resolve.records import ResolveInput
from pipeline.resolve.stage import ResolveConfig, resolve

__all__ = ["ResolveConfig", "ResolveInput", "resolve"]
