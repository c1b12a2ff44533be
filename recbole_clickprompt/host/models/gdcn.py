"""Where RecBole's ``get_model("GDCN")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.backbones.gdcn import GDCN

__all__ = ["GDCN"]
