"""Serving of trained models: scores of raw rows, publishing, and export to ONNX."""

from recbole_clickprompt.serving.hub import from_pretrained
from recbole_clickprompt.serving.load import load_model

__all__ = ["from_pretrained", "load_model"]
