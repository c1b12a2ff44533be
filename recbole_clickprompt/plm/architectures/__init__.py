"""Adapters to the families of transformers models that prompts can enter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_clickprompt.plm.architectures.base import ArchitectureAdapter, LayerAdapter, PostNorm
from recbole_clickprompt.plm.architectures.bert import AlbertAdapter, BartAdapter, BertAdapter, DistilBertAdapter
from recbole_clickprompt.plm.architectures.deberta import DebertaAdapter
from recbole_clickprompt.plm.architectures.gpt2 import GPT2Adapter
from recbole_clickprompt.plm.architectures.llama import LlamaAdapter, MistralAdapter
from recbole_clickprompt.plm.architectures.modernbert import ModernBertAdapter
from recbole_clickprompt.plm.architectures.t5 import T5Adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ARCHITECTURES", "ArchitectureAdapter", "LayerAdapter", "PostNorm", "build_adapter"]

# By transformers' model type
ARCHITECTURES: dict[str, type[ArchitectureAdapter]] = {
    "albert": AlbertAdapter,
    "bart": BartAdapter,
    "bert": BertAdapter,
    "camembert": BertAdapter,
    "deberta-v2": DebertaAdapter,
    "distilbert": DistilBertAdapter,
    "electra": BertAdapter,
    "gpt2": GPT2Adapter,
    "llama": LlamaAdapter,
    "mistral": MistralAdapter,
    "modernbert": ModernBertAdapter,
    "qwen2": LlamaAdapter,
    "qwen3": LlamaAdapter,
    "roberta": BertAdapter,
    "t5": T5Adapter,
    "xlm-roberta": BertAdapter,
}


def build_adapter(model: PreTrainedModel) -> ArchitectureAdapter:
    """The adapter of a base model of transformers.

    Raises:
        KeyError: The model's type is not in ``ARCHITECTURES``; ``read_config`` rejects such models with a message.
    """
    return ARCHITECTURES[model.config.model_type](model)
