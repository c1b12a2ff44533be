"""Fast scores of a single interaction layer whose weights no longer change: ``SingleLayerScorer``."""

from recbole_clickprompt.methods.clickprompt.inference.single_layer import SingleLayerScorer

__all__ = ["SingleLayerScorer"]
