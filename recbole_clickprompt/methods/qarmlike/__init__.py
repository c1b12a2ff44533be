"""Semantic ids in the style of QARM (Luo et al., 2024): codes of texts by residual k-means, as token fields."""

from recbole_clickprompt.methods.qarmlike.method import QARMLikeMethod

__all__ = ["METHODS"]

METHODS = (QARMLikeMethod(),)
