"""The commands of ``recbole-cp``: one module each, with ``add_arguments`` and ``execute``.

These modules import what takes long, such as pandas, torch and RecBole, inside their functions: the help of all
commands then appears at once.
"""
