"""LLaCTR (Cui et al., 2025): what a language model knows about the names of fields."""

from recbole_clickprompt.methods.llactr.method import LLaCTRMethod

__all__ = ["METHODS"]

METHODS = (LLaCTRMethod(),)
