"""Fast inference with a single interaction layer whose weights are fixed: ``SingleLayerScorer``.

Files: ``single_layer.py`` puts the parts together; ``user_cache.py`` caches attention to the user's text;
``kv_cache.py`` caches keys and values of the other texts; ``folded_prompts.py`` folds prompt MLPs and projections
into one matrix; ``post_norm_block.py`` computes what follows attention. Letters: see ``plm/__init__.py``.
"""

from recbole_clickprompt.methods.clickprompt.inference.single_layer import SingleLayerScorer

__all__ = ["SingleLayerScorer"]
