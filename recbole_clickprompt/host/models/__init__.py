"""Appended to the search path of ``recbole.model.context_aware_recommender``."""
