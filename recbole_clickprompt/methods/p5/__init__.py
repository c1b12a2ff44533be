"""P5 (Geng et al., 2022), single task: an encoder-decoder answers whether the user will like the item."""

from recbole_clickprompt.methods.p5.method import P5Method

__all__ = ["METHODS"]

METHODS = (P5Method(),)
