"""Serving of trained models: scores of raw rows, and export to ONNX."""

from recbole_clickprompt.serving.load import load_model

__all__ = ["load_model"]
