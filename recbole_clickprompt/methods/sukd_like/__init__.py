"""A CTR model and a small text tower that learns from a larger one, after SuKD (Wang et al., 2022)."""

from recbole_clickprompt.methods.sukd_like.method import SuKDLikeMethod

__all__ = ["METHODS"]

METHODS = (SuKDLikeMethod(),)
