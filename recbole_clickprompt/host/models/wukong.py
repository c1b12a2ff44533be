"""Where RecBole's ``get_model("WuKong")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.backbones.wukong import WuKong

__all__ = ["WuKong"]
