"""Where RecBole's ``get_model("FGCNN")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.backbones.fgcnn import FGCNN

__all__ = ["FGCNN"]
