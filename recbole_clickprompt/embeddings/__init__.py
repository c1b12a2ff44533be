"""Embedding tables that several processes hold together: each has some of their rows.

Letters: N rows of a table, d width of an embedding, n ids of a look-up.
"""
