"""Where RecBole's ``get_model("FinalMLP")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.model.backbone.finalmlp import FinalMLP

__all__ = ["FinalMLP"]
