"""Prefect flows around the pipeline's own step graph."""
