"""ClickPrompt for RecBole. Importing this package registers its models with RecBole."""

import sys
from pathlib import Path
from typing import Any

from recbole_clickprompt.host.missing_ray import replace_unusable_ray
from recbole_clickprompt.host.third_party_warnings import ignore_third_party_warnings
from recbole_clickprompt.methods.registry import register_method

__all__ = ["__version__", "from_pretrained", "load_model", "register", "register_method"]
__version__ = "0.1.0"


def register() -> None:
    """Registers all models with RecBole, which importing this package does; repeated calls do nothing."""
    from recbole_clickprompt.host.registration import register

    register()


def _starts_command() -> bool:
    """Whether this import starts the command line, which only registers for commands that need RecBole.

    Importing RecBole takes seconds, and would slow down ``--help`` and commands that read tables only.
    """
    # The script or module as Python was started with it; another one in processes that a command starts. Programs
    # may have changed sys.argv since
    started = sys.orig_argv[-len(sys.argv)] if 0 < len(sys.argv) <= len(sys.orig_argv) else ""
    if sys.argv[:1] == ["-m"]:  # Python's value while it locates the module of `python -m MODULE`
        return started.removeprefix("-m") == __name__
    return sys.argv[:1] == [started] and Path(started).stem in ("recbole-cp", "run_recbole_cp")


def __getattr__(name: str) -> Any:
    if name in ("from_pretrained", "load_model"):  # on first access: serving would slow down importing the plug-in
        from recbole_clickprompt import serving

        return getattr(serving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Both before RecBole is imported
ignore_third_party_warnings()
replace_unusable_ray()
if not _starts_command():
    register()
