"""The commands of ``recbole-cp``: one module each, with ``add_arguments`` and ``execute``."""
