"""ClickPrompt for RecBole: import this package once and RecBole knows the models in it."""

from recbole_clickprompt.host.registration import register

__all__ = ["__version__", "register"]
__version__ = "0.1.0"

register()
