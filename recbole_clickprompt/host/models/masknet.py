"""Where RecBole's ``get_model("MaskNet")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.backbones.masknet import MaskNet

__all__ = ["MaskNet"]
