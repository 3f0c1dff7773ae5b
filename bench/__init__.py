"""Benchmarks: Entrepot beside nginx (the limit) and other registries (the peers)."""
