"""Where RecBole's ``get_model("FinalMLP")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.backbones.finalmlp import FinalMLP

__all__ = ["FinalMLP"]
