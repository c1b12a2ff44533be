"""Where RecBole's ``get_model("WuKong")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.model.backbone.wukong import WuKong

__all__ = ["WuKong"]
