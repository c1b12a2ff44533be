"""The commands of the front door, a module each with ``add_arguments`` and ``execute``."""
