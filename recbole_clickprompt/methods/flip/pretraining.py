"""FLIP's pretraining: three losses that align a backbone and a language model.

Letters: see ``plm/__init__.py``; n rows of a part of a batch, w width of the contrasted representations, E masked
fields of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_clickprompt.backbones.adapter import Backbone
from recbole_clickprompt.methods.ctrl.contrast import contrast
from recbole_clickprompt.methods.flip.masked_fields import FieldPredictor, IdMasker, noise_contrastive_loss
from recbole_clickprompt.methods.flip.masked_tokens import TokenPredictor
from recbole_clickprompt.methods.flip.projection import Projection
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.pooling import SummaryPooling
from recbole_clickprompt.text.tokens import TokenTable
from recbole_clickprompt.trainer.data_parallel import shares
from recbole_clickprompt.trainer.gradient_caching import RepresentedRows, WholeBatchModel
from recbole_clickprompt.trainer.running_metrics import RunningMean
from recbole_clickprompt.trainer.stage import autocast

__all__ = ["FLIPPretraining", "Weights"]

# Columns that are added to a batch; names of fields contain no colon
_FIELDS, _NEGATIVES = "masked:fields", "masked:negatives"


class Weights(NamedTuple):
    """Weights of the losses; a loss with weight 0 is not computed.

    Attributes:
        contrast: Instance contrast: which text belongs to which row of ids.
        masked_field: Masked field modeling: ids from text.
        mlm: Masked language modeling: text from ids.
    """

    contrast: float
    masked_field: float
    mlm: float


class _Encoded(NamedTuple):
    """
    Attributes:
        q: The backbone's representation of the intact ids, ``(n, Q)``.
        states: Last states of the intact text, ``(n, Z, W)`` float32; None if no loss reads them.
        lengths: Tokens of each row, ``(n,)``.
        representation: Of ids and text, side by side, ``(n, 2 w)`` float32; None without contrast.
    """

    q: Tensor
    states: Tensor | None
    lengths: Tensor
    representation: Tensor | None


class FLIPPretraining(WholeBatchModel):
    """Aligns backbone and PLM; a ``StageModel``. Of each row it reads ids and text, intact and masked::

        intact ids  -> backbone -> q ------+-> projection ----------------+
                                           |                              +-> contrast over the rows of the batch
        intact text -> PLM -> states ---+--|-> first state -> projection -+
                                        |  |
        masked ids  -> backbone -> q~ --+--|-> field predictor -> masked field modeling
        masked text -> PLM -> states ------+-> token predictor -> masked language modeling

    The loss of a batch is the weighted sum of three means: over rows, over masked fields and over masked tokens.
    Masks are drawn once per batch and added to it as columns, so that parts of the batch share them. Labels are
    not read.

    Args:
        backbone: CTR model.
        plm: Encoder.
        text: Maps a batch to the encoder's text.
        weights: Of the losses.
        projections: Of ids and of text; None without contrast.
        temperature: See ``contrast``.
        keys: Columns of ids, of which equal ones are no negatives; none for all other rows of a batch.
        id_masker: Chooses masked fields; None without masked field modeling.
        field_predictor: Recovers them; None like ``id_masker``.
        token_predictor: Masks and recovers tokens; None without masked language modeling.
        enable_amp: Compute PLM and projections in bf16.

    Attributes:
        metrics: Running loss and accuracy of each loss with a weight above 0.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        plm: PromptedEncoder,
        text: TokenTable,
        weights: Weights,
        projections: tuple[Projection, Projection] | None,
        temperature: float,
        keys: Sequence[str],
        id_masker: IdMasker | None,
        field_predictor: FieldPredictor | None,
        token_predictor: TokenPredictor | None,
        enable_amp: bool,
    ) -> None:
        super().__init__(enable_amp=enable_amp)
        self.backbone, self.plm, self.text = backbone, plm, text
        self.weights, self.temperature, self.keys = weights, temperature, tuple(keys)
        self.projections = None if projections is None else nn.ModuleList(projections)
        self.id_masker, self.field_predictor = id_masker, field_predictor
        self.token_predictor, self.summary = token_predictor, SummaryPooling()
        self.metrics: Mapping[str, RunningMean] = {
            name: RunningMean() for name, weight in weights._asdict().items() if weight
        }

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the language model."""
        return list(self.plm.parameters())

    def micro_batches(self, interaction: Interaction, size: int) -> Sequence[Tensor]:
        """Row numbers of parts with texts of similar length."""
        return self.text.lengths(interaction).argsort(stable=True).split(size)

    def table_rows(self) -> dict[str, Sequence[str | int] | None]:
        """The vectors of values; the output layer over tokens of the data starts again (``HasTableRows``)."""
        found: dict[str, Sequence[str | int] | None] = {}
        if self.id_masker is not None:
            found["field_predictor.values.weight"] = self.id_masker.fields
        size = self.plm.encoder.config.vocab_size
        if self.token_predictor is not None and len(self.token_predictor.vocabulary) < size:
            found |= {f"token_predictor.{name}": None for name in self.token_predictor.output_names}
        return found

    def masked(self, interaction: Interaction) -> Interaction:
        """A batch with columns of what is masked in each row."""
        columns = dict(interaction.interaction)
        if self.id_masker is not None:
            columns[_FIELDS], columns[_NEGATIVES] = self.id_masker.sample(interaction)
        if self.token_predictor is not None:
            columns |= self.token_predictor.sample(interaction)
        return Interaction(columns)

    def split(self, interaction: Interaction, size: int) -> list[tuple[RepresentedRows, float]]:
        """Masks a batch and splits it into parts, as ``WholeBatchModel`` does if rows are contrasted."""
        batch = self.masked(interaction)
        if self.weights.contrast:
            return super().split(batch, size)
        seed = int(torch.randint(2**62, ()))
        return [
            (RepresentedRows(batch[rows], seed + number), len(rows) / len(batch))
            for number, rows in enumerate(self.micro_batches(batch, size))
        ]

    def encode(self, batch: Interaction) -> _Encoded:
        """What the losses read of intact ids and text."""
        q, _ = self.backbone(batch)
        lengths = self.text.lengths(batch)
        if self.projections is None and self.field_predictor is None:
            return _Encoded(q, None, lengths, None)
        text, lengths = self.text(batch)
        if self.field_predictor is None:
            states, first = None, self.summary(self.plm, text, lengths, None)
        else:
            states = self.plm(text, lengths).float()
            position = lengths - 1 if self.plm.causal else torch.zeros_like(lengths)
            first = states[torch.arange(len(states), device=states.device), position]
        if self.projections is None:
            return _Encoded(q, states, lengths, None)
        with torch.autocast(q.device.type, enabled=False):
            sides = [project(side.float()) for project, side in zip(self.projections, (q, first), strict=True)]
        return _Encoded(q, states, lengths, torch.cat(sides, dim=1))

    def represent(self, interaction: Interaction) -> Tensor:
        """Representations of ids and of text, side by side, ``(n, 2 w)`` float32."""
        representation = self.encode(interaction).representation
        assert representation is not None, "there is nothing to contrast"
        return representation

    def batch_loss(self, interaction: Interaction, representations: Tensor) -> Tensor:
        """See ``contrast``, with one sub-space; also added to ``metrics``."""
        ids, text = representations.unflatten(1, (2, 1, -1)).unbind(1)  # (B, 1, w) each
        keys = torch.stack([interaction[key] for key in self.keys], dim=1) if self.keys else None
        with torch.autocast(ids.device.type, enabled=False):
            loss, correct = contrast(ids, text, temperature=self.temperature, keys=keys)
        self.metrics["contrast"].add(loss, correct)
        return loss

    def calculate_loss(self, part: RepresentedRows) -> Tensor:
        """The weighted sum of the losses, a scalar; the mean over a batch weighs parts by their rows."""
        with self.same_state(part):
            encoded = self.encode(part.interaction)
        loss = self.reconstruction_loss(part.interaction, encoded)
        if encoded.representation is not None:
            loss = loss + self.weights.contrast * self.coupled_loss(part, encoded.representation)
        return loss

    def reconstruction_loss(self, batch: Interaction, encoded: _Encoded) -> Tensor:
        """The weighted sum of masked field and masked language modeling, a scalar; 0 without both."""
        loss = encoded.q.new_zeros(())
        if self.field_predictor is not None:
            loss = loss + self.weights.masked_field * self._masked_field_loss(batch, encoded)
        if self.token_predictor is not None:
            found = self.token_predictor(self.plm, batch, encoded.q, encoded.lengths)
            self.metrics["mlm"].add(found.loss, found.correct)
            loss = loss + self.weights.mlm * found.share * found.loss
        return loss

    def field_scores(self, batch: Interaction, encoded: _Encoded, values: Tensor) -> Tensor:
        """Scores of values for the masked fields of a batch, ``(n, E, values)`` like ``values``."""
        assert self.id_masker is not None
        assert self.field_predictor is not None
        assert encoded.states is not None
        q, _ = self.backbone(self.id_masker.hide(batch, batch[_FIELDS]))
        with torch.autocast(q.device.type, enabled=False):
            vectors = self.field_predictor.vectors(q.float(), encoded.states, encoded.lengths)
            return self.field_predictor.scores(vectors, batch[_FIELDS], values)

    def _masked_field_loss(self, batch: Interaction, encoded: _Encoded) -> Tensor:
        assert self.id_masker is not None
        target = self.id_masker.targets(batch, batch[_FIELDS]).unsqueeze(2)  # (n, E, 1)
        values = torch.cat([target, batch[_NEGATIVES]], dim=2)
        scores = self.field_scores(batch, encoded, values)
        loss = noise_contrastive_loss(scores, self.id_masker.log_frequencies[values]).mean()
        others = scores[:, :, 1:].detach().masked_fill(values[:, :, 1:] == target, float("-inf"))
        self.metrics["masked_field"].add(loss, (scores[:, :, :1].detach() > others).all(2).flatten())
        return loss

    @torch.no_grad()
    def measure(self, interaction: Interaction, size: int) -> None:
        """Adds the losses of a batch to ``metrics``, computed in parts of ``size`` rows."""
        batch = self.masked(interaction)
        blocks = self.micro_batches(batch, size)
        if self.projections is not None:
            self.batch_loss(batch, self.representations(batch, blocks))
        if self.field_predictor is None and self.token_predictor is None:
            return
        for part, _ in shares(self, [(RepresentedRows(batch[rows], 0), 1.0) for rows in blocks]):
            with autocast(self.text.lengths(part.interaction).device, self.enable_amp):
                self.reconstruction_loss(part.interaction, self.encode(part.interaction))
