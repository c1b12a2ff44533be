"""CTR models as backbones: ``(q, logit)`` of a batch, whatever the host's class returns."""

__all__ = ["BACKBONES"]

# Here and not beside the classes, so that checking a setting loads no model
BACKBONES = ("AutoInt", "DCNV2", "DNN", "DeepFM")
