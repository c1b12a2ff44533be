"""Embedding tables that several processes hold together: each has some of their rows.

::

    initial_values   rows of a table as a complete one would have them, drawn in parts
    table            the module in the place of an nn.Embedding, and where its rows are
    planning         which process holds which rows
    torchrec_rows    rows that are trained, by TorchRec
    files            rows in files, written by all processes and read by any number of them

Letters of shapes: see ``plm/__init__.py``.
"""
