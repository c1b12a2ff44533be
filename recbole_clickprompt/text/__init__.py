"""The text of rows, its tokens, and masks. Letters of shapes: see ``plm/__init__.py``."""
