"""Where RecBole's ``get_model("ClickPrompt")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.methods.clickprompt.model import ClickPrompt

__all__ = ["ClickPrompt"]
