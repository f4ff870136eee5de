"""Benchmarks. They run from the root of the source tree, with the package built (`make build`)."""
