"""Features read the text of each layer of a language model, after BERT4CTR (Wang et al., 2023)."""

from recbole_clickprompt.methods.bert4ctr_like.method import BERT4CTRLikeMethod

__all__ = ["METHODS"]

METHODS = (BERT4CTRLikeMethod(),)
