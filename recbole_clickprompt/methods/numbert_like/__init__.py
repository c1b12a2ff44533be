"""A language model that reads values as tokens of their own, after NumBERT, a baseline of Wang et al. (2023)."""

from recbole_clickprompt.methods.numbert_like.method import NumBERTLikeMethod

__all__ = ["METHODS"]

METHODS = (NumBERTLikeMethod(),)
