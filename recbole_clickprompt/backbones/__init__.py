"""CTR models as backbones: ``(q, logit)`` of a batch, of any model."""

__all__ = ["BACKBONES", "NEW_MODELS"]

# Here instead of next to the classes, so that checking a setting loads no model
_HOST_MODELS = (
    "AFM", "AutoInt", "DCN", "DCNV2", "DeepFM", "DSSM", "EulerNet", "FFM", "FiGNN", "FM", "FNN", "FwFM",
    "KD_DAGFM", "LR", "NFM", "PNN", "WideDeep", "xDeepFM",
)  # fmt: skip

# Those that RecBole does not have; `run_recbole` takes them by name too
NEW_MODELS = ("DNN", "FGCNN", "FiBiNET", "FinalMLP", "GDCN", "MaskNet", "WuKong")

BACKBONES = tuple(sorted((*_HOST_MODELS, *NEW_MODELS), key=str.lower))
