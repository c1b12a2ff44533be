"""KD_DAGFM's networks, on RecBole's classes."""

from __future__ import annotations

from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.context_aware_recommender.kd_dagfm import DAGFM, CrossNet
from recbole.model.init import xavier_normal_initialization
from torch import Tensor
from torch.nn.init import xavier_normal_

from recbole_clickprompt.backbones.base import LogitModel
from recbole_clickprompt.settings.values import Settings

__all__ = ["KD_DAGFM"]


class KD_DAGFM(LogitModel):
    """One network of KD_DAGFM (Tian et al., WSDM 2023), without distillation: RecBole's classes with these fixes.

    ``phase`` selects the teacher (a cross network) or the student; either is trained on labels.

    - It runs on the device of the config; RecBole's networks use cuda wherever it is available.
    - ``forward`` returns logits, ``(B,)``; RecBole's returns probabilities, ``(B, 1)``.
    - The teacher's cross weights start Xavier-normal: RecBole's initializer skips them, so they stay N(0, 1).
    - Only the network of the ``phase`` is built; the student needs no checkpoint of a teacher.

    Reads ``embedding_size``, ``phase``, ``t_depth``, ``depth`` and ``type`` from the config.
    """

    def __init__(self, config: Settings, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        settings = {"embedding_size": self.embedding_size, "feature_num": self.num_feature_field}
        if config["phase"] == "teacher_training":
            self.network = CrossNet({**settings, "depth": config["t_depth"]})
            for weight in self.network.cross_layer_w:
                xavier_normal_(weight.data)
        else:
            self.network = DAGFM({**settings, "depth": config["depth"], "type": config["type"]})
            adjacency = self.network.adj_matrix.cpu()
            del self.network.adj_matrix
            self.network.register_buffer("adj_matrix", adjacency, persistent=False)
        self.apply(xavier_normal_initialization)

    def forward(self, interaction: Interaction) -> Tensor:
        """Logits, ``(B,)``."""
        self.network.FeatureInteraction(self.concat_embed_input_fields(interaction))
        logits = self.network.logits
        self.network.logits = self.network.outputs = None  # they would keep the graph of the batch alive
        return logits.squeeze(1)
