"""CTR-BERT (Muhamed et al., 2021) without its teacher: two language models, one for users and one for items."""

from recbole_clickprompt.methods.ctrbert.method import CTRBERTMethod

__all__ = ["METHODS"]

METHODS = (CTRBERTMethod(),)
