"""Curation of text pairs for embedding models: from one YAML file per corpus to a documented, licence-proven dataset."""

__version__ = "0.1.0"
