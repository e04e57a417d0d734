"""Manifests: corpora, benchmarks, recipes and licences as YAML, read and checked with every fault at its place."""
