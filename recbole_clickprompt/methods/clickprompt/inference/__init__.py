"""Scores of one joint layer whose weights no longer change."""
