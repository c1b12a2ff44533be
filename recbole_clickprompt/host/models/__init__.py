"""Appended to the search path of ``recbole.model.context_aware_recommender``."""

__all__ = ["MODELS"]

MODELS = ("ClickPrompt", "ClickPromptNoPLM")
