"""CTR models as backbones: ``(q, logit)`` of a batch, of any model."""

__all__ = ["BACKBONES", "NEW_MODELS", "WITHOUT_VECTORS"]

# Here instead of next to the classes, so that checking a setting loads no model
_HOST_MODELS = (
    "AFM", "AutoInt", "DCN", "DCNV2", "DeepFM", "DSSM", "EulerNet", "FFM", "FiGNN", "FM", "FNN", "FwFM",
    "KD_DAGFM", "LR", "NFM", "PNN", "WideDeep", "xDeepFM",
)  # fmt: skip

# Those that RecBole does not have; `run_recbole` takes them by name too
NEW_MODELS = ("DNN", "FGCNN", "FiBiNET", "FinalMLP", "GDCN", "MaskNet", "WuKong")

# RecBole's DIN is a sequential model on other rows, and keeps its name in `run_recbole`
BACKBONES = tuple(sorted((*_HOST_MODELS, *NEW_MODELS, "DIN"), key=str.lower))

# They take embeddings by the names of fields, or in shapes of their own, so vectors cannot be fields of theirs
WITHOUT_VECTORS = ("DSSM", "FFM", "FGCNN", "FwFM", "LR")
