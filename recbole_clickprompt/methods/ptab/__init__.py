"""PTab (Liu et al., 2022): a language model reads rows as text; masked language modeling, then classification."""

from recbole_clickprompt.methods.ptab.method import PTabMethod

__all__ = ["METHODS"]

METHODS = (PTabMethod(),)
