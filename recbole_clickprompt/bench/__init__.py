"""Benchmark of the stages against a plain form of them, on the same rows and weights."""
