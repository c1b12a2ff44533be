"""FLIP (Wang et al., 2024): three losses align backbone and language model; then both or one are finetuned."""

from recbole_clickprompt.methods.flip.method import FLIPMethod

__all__ = ["METHODS"]

METHODS = (FLIPMethod(),)
