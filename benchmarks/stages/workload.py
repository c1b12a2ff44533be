"""Rows and models of a benchmark."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import get_model

from benchmarks.stages.job import Contender, Job
from benchmarks.stages.reference import PlainClickPrompt, PlainPAMLM
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.dataset_tokens import build_token_table
from recbole_clickprompt.methods.clickprompt.builders import build_pamlm
from recbole_clickprompt.methods.clickprompt.model import ClickPrompt, ClickPromptNoPLM
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.text.tokens import TokenTable

__all__ = ["Workload", "scratch_folder"]

_SEED = 2020
_BENCHMARK_SETTINGS = ("backbone_class",)  # settings of a contender that are not settings of a run


class Workload:
    """The training rows of a job's data set in random order, and models for them.

    Every model is initialized from the same seed, so that models of one stage have equal weights.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.device = torch.device(job.device)
        self._config = self.config("ClickPrompt", {})
        self._train, _, _ = data_preparation(self._config, create_dataset(self._config))
        self.dataset = self._train._dataset
        order = torch.Generator().manual_seed(self._config["seed"])
        self._order = torch.randperm(len(self.dataset), generator=order)

    def config(self, model: str, settings: dict[str, Any]) -> Config:
        """RecBole's config with the settings of the job, which ``settings`` override."""
        environment = {
            "gpu_id": "0" if self.job.device == "cuda" else "",
            "show_progress": False,
            "state": "error",
        }
        overrides = {key: value for key, value in settings.items() if key not in _BENCHMARK_SETTINGS}
        return Config(
            model, self.job.dataset, None, {"seed": _SEED, **environment, **self.job.settings, **overrides}
        )

    def rows(self, number: int, batch: int) -> Interaction:
        """The batch with this number, from 0; starts again from the first after the last full batch.

        Raises:
            DataError: There are fewer rows than one batch.
        """
        batches = len(self._order) // batch
        if not batches:
            raise DataError(
                f"{self.job.dataset} has {len(self._order)} training rows, too few for a batch of {batch}; "
                "use smaller batches"
            )
        start = number % batches * batch
        return self.dataset[self._order[start : start + batch].numpy()].to(self.device)

    def loader(self, config: Config, *, batch: int, host: bool) -> TrainDataLoader:
        """RecBole's loader over the first ``epoch_rows`` rows; ``host`` uses RecBole's data set class."""
        part = self.dataset.copy(self.dataset.inter_feat[self._order[: self.job.epoch_rows].numpy()])
        if host:
            part.__class__ = Dataset
        loader_config = copy.copy(config)
        loader_config.final_config_dict = {**config.final_config_dict, "train_batch_size": batch}
        return TrainDataLoader(loader_config, part, self._train._sampler, shuffle=True)

    def plm_model(self, stage: str, contender: Contender) -> tuple[Config, Any]:
        """Config and model of a stage with a PLM."""
        config = self.config("ClickPrompt", contender.settings)
        torch.manual_seed(config["seed"])
        model: Any = build_pamlm(config, self.dataset) if stage == "pamlm" else ClickPrompt(config, self.dataset)
        if contender.kind == "reference":
            tokenizer = self.dataset.tokenizer(config["plm"])
            model = (PlainPAMLM if stage == "pamlm" else PlainClickPrompt)(model, tokenizer)
        return config, model.to(self.device)

    def token_table(self) -> TokenTable:
        """The token table of the data set."""
        return self.dataset.token_table(self._config["plm"])

    def token_table_of_a_later_run(self) -> TokenTable:
        """The token table, built again."""
        plm = self._config["plm"]
        return build_token_table(self.dataset, self.dataset.tokenizer(plm), find_plm(plm))

    def plm_width(self) -> int:
        """Width of the PLM's states."""
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(find_plm(self._config["plm"]), local_files_only=True).hidden_size

    def backbone_model(self, contender: Contender) -> tuple[Config, Any]:
        """Config and model of a stage without PLM: RecBole's class, our backbone, or ClickPromptNoPLM."""
        config = self.config("ClickPromptNoPLM", {**contender.settings, "train_stage": "finetune"})
        torch.manual_seed(config["seed"])
        if contender.settings.get("backbone_class") == "host":
            return config, get_model(config["backbone"])(config, self.dataset).to(self.device)
        model = ClickPromptNoPLM(config, self.dataset).to(self.device)
        return config, model if contender.kind == "ours" else model.backbone.model


@contextmanager
def scratch_folder() -> Iterator[None]:
    """Changes into a temporary folder, because RecBole's trainers write logs into the working folder."""
    before = os.getcwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
