"""CTRL (Li et al., 2023): ids and text of rows are contrasted, then the backbone alone is finetuned."""

from recbole_clickprompt.methods.ctrl.method import CTRLMethod

__all__ = ["METHODS"]

METHODS = (CTRLMethod(),)
