"""NumBERTLike's model: a language model whose vocabulary has a token for each value of each field.

Letters: see ``plm/__init__.py``; S slots for the values of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.numbert_like.value_tokens import ValueTokens, append_tokens
from recbole_clickprompt.plm.builders import build_encoder
from recbole_clickprompt.plm.loading import longest_text
from recbole_clickprompt.plm.pooling import build_pooling
from recbole_clickprompt.plm.text_inputs import build_text_table
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.text.tokens import TokenTable

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["ExtendedEmbedding", "NumBERTLike"]


class ExtendedEmbedding(nn.Module):
    """The word embeddings of a PLM, and after them those of new tokens.

    Args:
        pretrained: Embeddings of the tokens below V; the same module, not a copy.
        count: Number of new tokens.
        deviation: Standard deviation of their initial embeddings.
    """

    def __init__(self, pretrained: nn.Embedding, count: int, deviation: float) -> None:
        super().__init__()
        self.pretrained = pretrained
        self.added = nn.Embedding(count, pretrained.embedding_dim)
        nn.init.normal_(self.added.weight, std=deviation)

    def forward(self, input_ids: Tensor) -> Tensor:
        """``(B, Z)`` to ``(B, Z, width of an embedding)``."""
        first = self.pretrained.num_embeddings
        is_new = input_ids >= first
        known = self.pretrained(input_ids.masked_fill(is_new, 0))
        new = self.added((input_ids - first).clamp(min=0))
        return torch.where(is_new.unsqueeze(2), new, known)


class NumBERTLike(LabeledRowsModel):
    """``sigmoid(head(pool(text + tokens of values)))``, the head a linear layer::

        [CLS] title is Se7en . [SEP] | [user 17] [age 3] [item 5] | padding
        text of the row              | values of the row          |

    Args:
        config: Settings of the run.
        dataset: Data set whose fields and text are read.

    Raises:
        SettingError: There are no values, or the PLM has too few positions for them.
    """

    no_export = "it looks up tokens of values outside of its graph"

    def __init__(self, config: Settings, dataset: TextSource) -> None:
        super().__init__(config)
        self.plm, _ = build_encoder(config)
        self.text: TokenTable | StateTable = build_text_table(config, dataset, self.plm)
        self.values = ValueTokens(config, dataset)
        if not self.values.fields:
            raise SettingError(
                "NumBERTLike has no values to read: all features are in whole_text_fields; take ids out of it"
            )
        encoder = self.plm.encoder
        words = encoder.get_input_embeddings()
        assert isinstance(words, nn.Embedding)
        self._first = words.num_embeddings
        self._embeddings = [ExtendedEmbedding(words, self.values.size, words.weight.std().item())]
        encoder.set_input_embeddings(self._embeddings[0])
        self.pooling = build_pooling(config["plm_pooling"])
        self.head = nn.Linear(self.plm.hidden_size, 1)
        self._unseen_are_zero = config["unseen_id_embeddings"] == "zero"
        slots = self.values.slots(dataset[torch.arange(1)])
        longest = longest_text(find_plm(config["plm"], seed=config["seed"]))
        self.longest_kept = longest - slots  # tokens of the text
        if self.longest_kept < 1:
            raise SettingError(
                f"a row has up to {slots} values, which are a token each, but {config['plm']} reads at most "
                f"{longest} tokens; use another plm, or shorten lists with seq_len"
            )

    def table_rows(self) -> dict[str, Sequence[str | int]]:
        """The embeddings of values; see ``HasTableRows``."""
        added = self._embeddings[0].added
        names = [name for name, module in self.named_modules(remove_duplicate=False) if module is added]
        return {f"{name}.weight": self.values.rows for name in names}

    def begin(self, dataset: Dataset) -> int:
        """Sets which values are known from the rows that are trained on.

        Args:
            dataset: These rows.

        Returns:
            Number of rows whose text has more tokens than fit next to the values, and is cut.
        """
        self.values.observe(dataset)
        if self._unseen_are_zero:
            with torch.no_grad():
                unknown = [field.offset for field in self.values.fields]
                self._embeddings[0].added.weight[unknown] = 0.0
        assert isinstance(self.text, TokenTable)
        return int((self.text.lengths(dataset.inter_feat) > self.longest_kept).sum())

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the PLM without the new embeddings; they are trained at ``plm_learning_rate``."""
        return [weight for weight in self.plm.parameters() if weight is not self._embeddings[0].added.weight]

    def tokens(self, interaction: Interaction) -> tuple[Tensor, Tensor]:
        """Token ids of texts and values, ``(B, Z)``, and lengths, ``(B,)``."""
        text, lengths = self.text(interaction)
        values, used = self.values(interaction)
        return append_tokens(text, lengths.clamp(max=self.longest_kept), values + self._first, used, pad=0)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)`` float32."""
        pooled = self.pooling(self.plm, *self.tokens(interaction), None)  # (B, W)
        with torch.autocast(pooled.device.type, enabled=False):
            return F.linear(pooled.float(), self.head.weight, self.head.bias).squeeze(1)

    def predict_logits(self, interaction: Interaction) -> dict[str, Tensor]:
        """``logit_plm``, ``(B,)``, computed in blocks of rows of similar length."""
        return {"logit_plm": self.in_blocks(interaction)}

    def score(self, logits: dict[str, Tensor]) -> Tensor:
        """Probabilities of a click, ``(B,)``, from the result of ``predict_logits``."""
        return self.probability(logits["logit_plm"])
