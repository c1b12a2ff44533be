"""The methods, one folder each. Letters of shapes: see ``plm/__init__.py``."""
