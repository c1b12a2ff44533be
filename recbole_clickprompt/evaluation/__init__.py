"""Evaluation of finished runs, as functions of tables."""
