"""Where RecBole's ``get_model("FiBiNET")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.backbones.fibinet import FiBiNET

__all__ = ["FiBiNET"]
