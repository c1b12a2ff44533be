"""How each family of transformers models lays out what the prompted encoder walks through."""

from recbole_clickprompt.plm.architectures.base import Layout, PostNorm
from recbole_clickprompt.plm.architectures.bert import AlbertLayout, BartLayout, BertLayout, DistilBertLayout
from recbole_clickprompt.plm.architectures.deberta import DebertaLayout
from recbole_clickprompt.plm.architectures.gpt2 import GPT2Layout
from recbole_clickprompt.plm.architectures.modernbert import ModernBertLayout

__all__ = ["LAYOUTS", "Layout", "PostNorm"]

# By transformers' model type
LAYOUTS: dict[str, type[Layout]] = {
    "albert": AlbertLayout,
    "bart": BartLayout,
    "bert": BertLayout,
    "camembert": BertLayout,
    "deberta-v2": DebertaLayout,
    "distilbert": DistilBertLayout,
    "electra": BertLayout,
    "gpt2": GPT2Layout,
    "modernbert": ModernBertLayout,
    "roberta": BertLayout,
    "xlm-roberta": BertLayout,
}
