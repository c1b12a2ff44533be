"""A trained model at work: scores of raw rows, and its export to ONNX."""

from recbole_clickprompt.serving.load import load_model

__all__ = ["load_model"]
