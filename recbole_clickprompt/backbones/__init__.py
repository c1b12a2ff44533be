"""CTR models as backbones: modules that map a batch to ``(q, logit)``.

q is the backbone's final representation, ``(B, Q)``, from which prompts are generated; the logit is ``(B,)``.
Letters of shapes: see ``plm/__init__.py``.
"""

__all__ = ["BACKBONES", "NEW_MODELS", "WITHOUT_VECTORS"]

# Here and not next to the classes, so that checking a setting imports no model
_HOST_MODELS = (
    "AFM", "AutoInt", "DCN", "DCNV2", "DeepFM", "DSSM", "EulerNet", "FFM", "FiGNN", "FM", "FNN", "FwFM",
    "KD_DAGFM", "LR", "NFM", "PNN", "WideDeep", "xDeepFM",
)  # fmt: skip

# Models that RecBole does not have; `run_recbole` accepts their names too
NEW_MODELS = ("DNN", "FGCNN", "FiBiNET", "FinalMLP", "GDCN", "MaskNet", "WuKong")

# RecBole's DIN is a sequential model on other rows, and keeps its name in `run_recbole`
BACKBONES = tuple(sorted((*_HOST_MODELS, *NEW_MODELS, "DIN"), key=str.lower))

# They take embeddings by the names of fields, or in shapes of their own, so vectors cannot be fields of theirs
WITHOUT_VECTORS = ("DSSM", "FFM", "FGCNN", "FwFM", "LR")
