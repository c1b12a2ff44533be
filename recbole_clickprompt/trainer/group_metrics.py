"""GAUC, the AUC within groups of rows, next to RecBole's metrics of scores."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from recbole.evaluator import Collector, Evaluator

from recbole_clickprompt.evaluation.metrics import gauc

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.interaction import Interaction
    from recbole.evaluator.collector import DataStruct

__all__ = ["GAUC", "GroupCollector", "GroupEvaluator", "metrics_of_recbole"]

GAUC = "gauc"
_GROUPS = "data.groups"


def metrics_of_recbole(metrics: Sequence[str]) -> list[str]:
    """The metrics that RecBole computes from scores: all but GAUC, which in RecBole is one of rankings."""
    return [name for name in metrics if name.lower() != GAUC]


def _without_gauc(config: Config) -> Config:
    plain = copy.copy(config)
    plain.final_config_dict = {**config.final_config_dict, "metrics": metrics_of_recbole(config["metrics"])}
    return plain


class GroupCollector(Collector):
    """Keeps the group of every evaluated row, in the field ``gauc_field`` or of the user, next to its score."""

    def __init__(self, config: Config) -> None:
        super().__init__(_without_gauc(config))
        self._field = config["gauc_field"] or config["USER_ID_FIELD"]

    def eval_batch_collect(
        self, scores_tensor: torch.Tensor, interaction: Interaction, positive_u: Any, positive_i: Any
    ) -> None:
        """As RecBole's; scores are ``(B,)``."""
        super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        for name, value in (
            (_GROUPS, interaction[self._field]),
            ("rec.score", scores_tensor),
            ("data.label", interaction[self.config["LABEL_FIELD"]]),
        ):
            if not self.register.need(name):  # no other metric has asked for it
                self.data_struct.update_tensor(name, value.to(self.device))

    def get_data_struct(self) -> DataStruct:
        """As RecBole's: all that was collected; then it starts empty."""
        collected = super().get_data_struct()
        for name in (_GROUPS, "rec.score", "data.label"):
            if name in self.data_struct:
                del self.data_struct[name]
        return collected


class GroupEvaluator(Evaluator):
    """RecBole's evaluator with GAUC: the AUC within groups, weighted by their rows (Zhu et al. 2017, Eq. 7)."""

    def __init__(self, config: Config) -> None:
        super().__init__(_without_gauc(config))
        self._names = [name.lower() for name in config["metrics"]]
        self._decimals = config["metric_decimal_place"]

    def evaluate(self, dataobject: DataStruct) -> OrderedDict[str, float]:
        """Value by metric, in the order of ``metrics``."""
        found = dict(super().evaluate(dataobject))
        columns = (dataobject.get(name).numpy() for name in (_GROUPS, "data.label", "rec.score"))
        found[GAUC] = round(gauc(*columns), self._decimals)
        return OrderedDict((name, found[name]) for name in self._names)
