"""A method: a way to train and serve a CTR model, selected by name in RecBole, the command line and grids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.word_tables import WordTable
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

if TYPE_CHECKING:
    import pandas as pd
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from torch import Tensor, nn

    from recbole_clickprompt.text.source import TextSource
    from recbole_clickprompt.trainer.protocols import PretrainingStage

__all__ = ["Curve", "Method", "check_text_fields", "refuse_unread", "warn_of_row_fields"]

_OF_USERS_AND_ITEMS = {"user_id", "user", "item_id", "item"}  # RecBole's names of sources


class Curve(NamedTuple):
    """A learning curve in reports.

    Attributes:
        stage: Name of the stage.
        column: The metric, such as ``mlm_loss``.
        title: Title of the figure.
        axis: Unit of the metric.
        caption: Text below the figure.
    """

    stage: str
    column: str
    title: str
    axis: str
    caption: str


class Method:
    """Base class of methods. A subclass sets ``name``, implements ``model_class`` and overrides what differs.

    Importing a method's module should be cheap: models and stages are imported inside these functions.

    Attributes:
        name: RecBole's model name; also the name of the class that ``model_class`` returns.
        stages: Stages before finetuning, in order; each starts from the previous one's checkpoint
            (``trainer/protocols.py``).
        serves_text: The model reads the text of rows when it predicts, so serving has to tokenize it.
        shards: The model can be trained with ``embedding_engine: torchrec`` and with ``row_sharding: user``.
        prediction_columns: Columns of its predictions in addition to the score, with their descriptions.
        curves: Learning curves of its stages, for reports.
        measures: Metrics of its stages that reports compare with the test AUC, over runs.
        aliases: Further names on the command line and in grids, with the settings that each implies.
    """

    name: str
    stages: Sequence[PretrainingStage] = ()
    serves_text: bool = False
    shards: bool = False
    prediction_columns: Mapping[str, str] = {}
    curves: Sequence[Curve] = ()
    measures: Sequence[Curve] = ()
    aliases: Mapping[str, Mapping[str, Any]] = {}

    def model_class(self) -> type:
        """Class of the model that is finetuned, evaluated and served, a ``trainer.protocols.CTRModel``."""
        raise NotImplementedError

    def settings(self) -> Mapping[str, Setting]:
        """The method's settings, and shared settings for which it has another default."""
        return {}

    def check(self, settings: Settings) -> None:
        """Checks settings against each other, before any data is read.

        Raises:
            SettingError: Settings contradict each other; the message says which ones, and what to do.
        """

    def serves_text_with(self, settings: Settings) -> bool:
        """``serves_text``, for a method of which it depends on settings."""
        return self.serves_text

    def reads_text(self, settings: Settings) -> bool:
        """True if finetuning reads the text of rows, so that its result depends on text and language model."""
        return self.serves_text_with(settings)

    def answer_files(self, settings: Settings) -> Sequence[str]:
        """Files with a teacher's answers, or names of shipped ones, that a run with these settings learns from."""
        return []

    def served_language_models(self, settings: Settings) -> Mapping[str, bool]:
        """The language models that a published model needs: settings that name one, and whether with its weights.

        False: config and tokenizer suffice, because the weights are part of the trained model, or none are read.
        True: the language model has weights of its own, such as a frozen encoder of new texts. By default a model
        that reads the text of rows is built around ``plm``.
        """
        return {"plm": False} if self.serves_text_with(settings) else {}

    def level_texts(self, config: Settings, dataset: TextSource) -> Mapping[str, Sequence[str]]:
        """The texts of items and users of a method that reads these, and not the sentence of a row.

        Args:
            config: Settings of the run.
            dataset: A part of its data set.

        Returns:
            By level, ``item`` or ``user``, the text of each id; with ``user_profiles``, of each profile. Empty for
            a method that reads sentences.
        """
        return {}

    def inputs(self, config: Settings, dataset: TextSource) -> dict[str, Any]:
        """What determines a run in addition to settings, rows and the text of rows, such as hashes of files.

        Args:
            config: Settings of the run.
            dataset: Its training rows.
        """
        return {}

    def begin_finetuning(
        self,
        config: Settings,
        model: nn.Module,
        *,
        start: Path | None,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None,
        all_rows: AbstractDataLoader,
    ) -> None:
        """Loads the weights that finetuning starts from.

        Args:
            config: Settings of the run.
            model: An instance of ``model_class()``, changed in place.
            start: Checkpoint of the last stage, or that of ``pre_model_path``; None without pretraining.
            train_data: Loader of the rows to train on.
            valid_data: Loader of the validation rows, or None.
            all_rows: Loader of all training rows; ``train_data`` may be a sample of them.
        """

    def sizes_from(self, settings: Settings, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Settings that a model derives from its data where they are None, as they were in a saved run.

        Args:
            settings: Of the run that continues from it.
            weights: Of the saved model.
        """
        return {}

    def title(self, config: Settings) -> str:
        """A readable name of a run's model, for tables and reports."""
        return self.name

    def tables(self, config: Settings, model: nn.Module, dataset: Dataset) -> Sequence[WordTable]:
        """Tables of words about a trained model, for reports.

        Args:
            config: Settings of the run.
            model: An instance of ``model_class()`` with the weights of the best epoch.
            dataset: The training rows.
        """
        return []

    def run_name(self, config: Settings) -> str:
        """The beginning of the names of a run's folder and checkpoint: a name that ``--model`` accepts."""
        return self.name

    def attention(self, settings: Settings) -> Callable[[Any, Any, Sequence[int]], pd.DataFrame] | None:
        """The function that computes the table of ``recbole-cp attention``: of model, data set and row numbers.

        Returns:
            None if models with these settings have no such table.
        """
        return None


def check_text_fields(settings: Settings) -> None:
    """Checks that the data set has text.

    Raises:
        SettingError: ``text_fields`` is not set.
    """
    if "text_fields" not in settings:
        raise SettingError(
            "text_fields is not set: list the fields whose values make up a row's text, for example "
            "`text_fields: {user_id: user ID, item_id: item ID}` in props/dataset/<dataset>.yaml"
        )


def refuse_unread(settings: Settings, reasons: Mapping[str, str]) -> None:
    """Checks that settings which nothing would read are not set.

    Args:
        settings: Of the run.
        reasons: Why nothing reads a setting, by its name.

    Raises:
        SettingError: One of them is set; says why, and to leave it out.
    """
    for name, reason in reasons.items():
        if settings[name]:
            raise SettingError(f"{name} has no effect: {reason}; leave it out")


def warn_of_row_fields(dataset: TextSource, method: str) -> None:
    """Names the fields of ``text_fields`` that describe neither user nor item, for a method that reads only these.

    Args:
        dataset: With its settings.
        method: Name of the method.
    """
    sources = {name: dataset.field2source[name].value for name in dataset.config["text_fields"]}
    if others := [name for name, source in sources.items() if source not in _OF_USERS_AND_ITEMS]:
        getLogger().warning(
            f"text_fields: {', '.join(others)} describe neither user nor item, so {method} does not read them"
        )
