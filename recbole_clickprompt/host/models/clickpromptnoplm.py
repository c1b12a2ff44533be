"""Where RecBole's ``get_model("ClickPromptNoPLM")`` looks; see ``host/registration.py``."""

from recbole_clickprompt.methods.clickprompt.model import ClickPromptNoPLM

__all__ = ["ClickPromptNoPLM"]
