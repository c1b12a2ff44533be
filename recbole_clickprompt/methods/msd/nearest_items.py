"""A table for reports: what the teacher says about items, next to the items with the most similar vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_clickprompt.evaluation.word_tables import WordTable
from recbole_clickprompt.methods.msd.distillation_settings import distillation_seed
from recbole_clickprompt.methods.text_vectors.answers import teacher_answers
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.descriptions import short_names
from recbole_clickprompt.text.source import TextSource

__all__ = ["nearest_items"]

_ITEMS, _NEAREST, _PHRASES = 10, 3, 5


def nearest_items(config: Settings, vectors: Tensor, dataset: TextSource) -> WordTable:
    """The items of most training rows, the teacher's implicit phrases about them, and their nearest items.

    Args:
        config: Settings of the run.
        vectors: Adapted vectors of items by id, ``(ids, A)``.
        dataset: The training rows.
    """
    names, answers = short_names(dataset), teacher_answers(config, "item", seed=distillation_seed(config))
    rows = dataset[torch.arange(len(dataset))][dataset.iid_field]
    named = torch.tensor([bool(name) for name in names])
    counts = torch.bincount(rows, minlength=len(names)) * named
    unit = F.normalize(vectors.float().cpu(), dim=1)
    cells = []
    for item in counts.argsort(descending=True, stable=True)[:_ITEMS].tolist():
        if not counts[item]:
            break
        similarity = (unit @ unit[item]).masked_fill(~named, -torch.inf)
        similarity[item] = -torch.inf
        nearest = similarity.topk(min(_NEAREST, int(named.sum()) - 1)).indices.tolist()
        answer = answers.get(str(dataset.id2token(dataset.iid_field, item)))
        phrases = "; ".join(answer.implicit[:_PHRASES]) if answer else "no answer"
        cells.append([names[item], phrases, "; ".join(names[number] for number in nearest)])
    return WordTable(
        "Items, phrases and nearest items",
        "The items of most training rows: phrases of the teacher that need knowledge of the world, and the items "
        "whose vectors, as the CTR model reads them, have the largest cosine similarity.",
        ["item", "implicit phrases", "nearest items"],
        cells,
    )
