"""Where RecBole's ``get_model("DNN")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.backbones.dnn import DNN

__all__ = ["DNN"]
