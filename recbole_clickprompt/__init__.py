"""ClickPrompt for RecBole. Importing this package registers its models with RecBole."""

from typing import Any

from recbole_clickprompt.host.third_party_warnings import ignore_third_party_warnings

ignore_third_party_warnings()  # before RecBole is imported

from recbole_clickprompt.host.registration import register  # noqa: E402
from recbole_clickprompt.methods.registry import register_method  # noqa: E402

__all__ = ["__version__", "load_model", "register", "register_method"]
__version__ = "0.1.0"

register()


def __getattr__(name: str) -> Any:
    if name == "load_model":  # imported on first access, because serving would slow down the import of the plug-in
        from recbole_clickprompt.serving import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
