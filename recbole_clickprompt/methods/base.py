"""A method: a way to train and serve a CTR model, known to RecBole, the command line and grids by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.trainer.protocols import PretrainingStage

__all__ = ["Curve", "Method"]


class Curve(NamedTuple):
    """A learning curve in reports.

    Attributes:
        stage: Name of the stage.
        column: The metric, such as ``mlm_loss``.
        title: Over the curve.
        axis: Its unit.
        caption: What it shows.
    """

    stage: str
    column: str
    title: str
    axis: str
    caption: str


class Method:
    """What a method provides. A subclass sets ``name``, gives ``model_class`` and overrides what differs.

    The import of a method's module should stay light: models and stages are imported inside these functions.

    Attributes:
        name: RecBole's model name, and that of the class which ``model_class`` gives.
        stages: Before finetuning, in order; each hands its checkpoint to the next (``trainer/protocols.py``).
        serves_text: The model reads the text of rows when it predicts, so serving has to tokenize it.
        prediction_columns: What its predictions hold besides the score, in words by column.
        curves: Learning curves of its stages, for reports.
        aliases: Further names on the command line and in grids, and the settings that each stands for.
    """

    name: str
    stages: Sequence[PretrainingStage] = ()
    serves_text: bool = False
    prediction_columns: Mapping[str, str] = {}
    curves: Sequence[Curve] = ()
    aliases: Mapping[str, Mapping[str, Any]] = {}

    def model_class(self) -> type:
        """The class of the model that is finetuned, evaluated and served: a ``trainer.protocols.CTRModel``."""
        raise NotImplementedError

    def settings(self) -> Mapping[str, Setting]:
        """The method's own settings, and shared ones for which it has another default."""
        return {}

    def check(self, settings: Mapping[str, Any]) -> None:
        """Refuses settings that contradict one another, before any data is read.

        Raises:
            SettingError: Says which, and what to do.
        """

    def reads_text(self, settings: Any) -> bool:
        """Whether finetuning reads the text of rows; then text and language model determine the result."""
        return self.serves_text

    def begin_finetuning(
        self, config: Any, model: Any, *, start: Path | None, train_data: Any, valid_data: Any, all_rows: Any
    ) -> None:
        """Gives the weights what they begin finetuning with; see ``trainer.protocols.FinetuningMethod``."""

    def title(self, config: Any) -> str:
        """The model of a run in words, for tables and reports."""
        return self.name

    def attention(self, settings: Mapping[str, Any]) -> Callable[[Any, Any, Sequence[int]], pd.DataFrame] | None:
        """What makes the table of ``recbole-cp attention`` for a run with these settings, if anything does."""
        return None
