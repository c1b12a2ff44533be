"""MSD (Zhang et al., 2024): a small language model, distilled from a large one, reads texts for a CTR model."""

from recbole_clickprompt.methods.msd.method import MSDMethod

__all__ = ["METHODS"]

METHODS = (MSDMethod(),)
