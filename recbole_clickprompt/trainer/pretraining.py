"""The pretraining stage: reuses an equal pretraining or does it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import cat_interactions

from recbole_clickprompt import distributed as ranks
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.history import history_beside, read_epochs
from recbole_clickprompt.methods.clickprompt.builders import build_pretraining
from recbole_clickprompt.methods.clickprompt.pamlm import PAMLM
from recbole_clickprompt.methods.clickprompt.replaced_item import ReplacedItem
from recbole_clickprompt.plm.text_init import begin_from_text
from recbole_clickprompt.trainer.fingerprint import checkpoint_path, pretraining_inputs, state_path
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.pretrained_checkpoint import load_whole, read_inputs, save_whole
from recbole_clickprompt.trainer.resume import Keeper
from recbole_clickprompt.trainer.resume_file import find_state
from recbole_clickprompt.trainer.run_logger import record_pretraining
from recbole_clickprompt.trainer.running_metrics import pop_figures
from recbole_clickprompt.trainer.sampling import sample, with_items_shuffled
from recbole_clickprompt.trainer.stage import Stage

__all__ = ["load_pretrained", "pretrain", "pretraining_rows"]

# Called with each epoch's number from 0 and its figures, as it ends or, reused, as it once was
Report = Callable[[int, dict[str, float]], None]


def pretrain(config: Any, train_data: Any, valid_data: Any = None, *, show_progress: bool, report: Report) -> Path:
    """Gives the checkpoint of this config's pretraining, made now unless an equal one is there.

    It runs from a seed and a loader of its own and leaves the random state as it found it: what follows is the
    same whether pretraining ran or was reused, and which of the two models asked for it.
    """
    logger = getLogger()
    dataset = pretraining_rows(config, train_data, valid_data)
    inputs = pretraining_inputs(config, dataset)
    path = checkpoint_path(config, inputs)
    if ranks.current().agree(path.exists() and read_inputs(path) == inputs):
        logger.info(f"pretraining reused: {path}")
        for line in read_epochs(history_beside(path)):
            report(line["epoch"], {name: value for name, value in line.items() if name not in ("stage", "epoch")})
        return path
    own, device = state_path(config, "pretrain", inputs), config["device"]
    kept, state = find_state(config, own, stage="pretrain", inputs=inputs)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config["seed"])
        model = build_pretraining(config, dataset).to(device)
        if config["init_from_text"] and not state:
            begin_from_text(model.backbone.model, config, dataset)
        loader = _loader(config, train_data, dataset)
        stage = _stage(config, model, len(loader))
        keeper = Keeper.of(config, stage, path=kept, inputs=inputs, capture=lambda: _tallies(model))
        begin = keeper.restore(state) if state else 0
        if state and ranks.current().main:
            for name, sums in state["own"]["tallies"].items():
                model.tallies[name].sums = sums
        with keeper.guarding():
            for epoch in range(begin, stage.epochs):
                stage.train_epoch(loader, epoch, show_progress=show_progress)
                figures = pop_figures(model.tallies, device)
                report(epoch, figures)
                record_pretraining(config, path, epoch, figures)
            save_whole(model, path, inputs=inputs, epoch=stage.epochs)
            keeper.remove()
    logger.info(f"pretraining saved: {path}")
    return path


def _tallies(model: PAMLM | ReplacedItem) -> dict[str, Any]:
    # Each rank counts its own rows; the sum is the same wherever it is
    gathered = {name: ranks.current().gather(tally.sums) for name, tally in model.tallies.items()}
    return {"tallies": {name: tuple(map(sum, zip(*sums, strict=True))) for name, sums in gathered.items()}}


def _stage(config: Any, model: PAMLM | ReplacedItem, batches: int) -> Stage:
    return Stage.of(
        config,
        name="pretrain",
        model=model,
        optimizer=build_optimizer(
            model,
            learner=config["learner"],
            learning_rate=config["pretrain_learning_rate"],
            plm_learning_rate=config["pretrain_plm_learning_rate"],
            weight_decay=config["pretrain_weight_decay"],
            lazy_embedding_min_rows=config["lazy_embedding_min_rows"],
        ),
        batches=batches,
        epochs=config["pretrain_epochs"],
        schedule=config["pretrain_lr_scheduler"],
        warmup_ratio=config["pretrain_warmup_ratio"],
    )


def pretraining_rows(config: Any, train_data: Any, valid_data: Any) -> Any:
    """The data set whose rows pretraining passes over: those of the training loader or a sample of them.

    With ``pretrain_data: train_valid`` all validation rows besides.
    """
    dataset = sample(config, train_data._dataset, "pretrain_rows")
    if config["pretrain_data"] == "train_valid":
        if valid_data is None:
            raise SettingError("pretrain_data: train_valid needs validation rows, and this run has none")
        # Ids and text of validation rows, never their labels
        dataset = dataset.copy(cat_interactions([dataset.inter_feat, valid_data._dataset.inter_feat]))
    return with_items_shuffled(config, dataset) if config["pretrain_shuffle_items"] else dataset


def _loader(config: Any, train_data: Any, dataset: Any) -> TrainDataLoader:
    own = copy.copy(config)
    own.final_config_dict = {**config.final_config_dict, "train_batch_size": config["pretrain_batch_size"]}
    return TrainDataLoader(own, dataset, train_data._sampler, shuffle=config["shuffle"])


def load_pretrained(config: Any, dataset: Any, path: Path) -> PAMLM | ReplacedItem:
    """The pretraining model out of its checkpoint."""
    model = build_pretraining(config, dataset)
    load_whole(model, path)
    return model.to(config["device"])
