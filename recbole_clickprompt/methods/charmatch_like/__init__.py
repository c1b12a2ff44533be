"""Characters of two texts, matched by convolutions, after DeepCharMatch (Edizel et al., 2017)."""

from recbole_clickprompt.methods.charmatch_like.method import CharMatchLikeMethod

__all__ = ["METHODS"]

METHODS = (CharMatchLikeMethod(),)
