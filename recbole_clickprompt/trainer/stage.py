"""One epoch of one stage, the same for pretraining and both ways of finetuning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from recbole_clickprompt.errors import TrainingError
from recbole_clickprompt.trainer.data_parallel import all_reduce_gradients, broadcast_parameters, rank_rng, shares
from recbole_clickprompt.trainer.lazy_adam import clip_gradients
from recbole_clickprompt.trainer.optimizer import build_scheduler

__all__ = ["Progress", "TrainingStage", "autocast"]

# Predicting a constant costs 0.7 for clicks and some 10 for masked words
_ABSURD_LOSS = 1000.0


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """bf16 on every device: its range needs no gradient scaler."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@dataclass
class Progress:
    """What is done of an epoch.

    Attributes:
        epoch: From 0.
        batches: Trained on.
        loss: Sum over them.
    """

    epoch: int
    batches: int = 0
    loss: float = 0.0


class BatchCheckpointer(Protocol):
    """Hands out the batches of an epoch, and keeps between them what is done; see ``trainer/resume.py``."""

    def begin(self, epoch: int) -> Progress: ...

    def batches(self, loader: Any) -> Iterable[Any]: ...


@dataclass
class TrainingStage:
    """A model under training.

    Attributes:
        name: Shown beside the progress bar.
        model: Has ``split`` and ``calculate_loss``.
        epochs: Of the whole stage.
        micro_batch_size: Rows, of all ranks together, that go through the model at once; gradients add up to those
            of the batch.
        clip_grad_norm: Arguments of ``clip_grad_norm_``, or None.
        checkpointer: Keeps the state of the training, or None.
    """

    name: str
    model: Any
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    epochs: int
    micro_batch_size: int
    device: torch.device
    enable_amp: bool
    clip_grad_norm: dict[str, Any] | None
    checkpointer: BatchCheckpointer | None = None

    @classmethod
    def from_config(
        cls,
        config: Any,
        *,
        name: str,
        model: Any,
        optimizer: torch.optim.Optimizer,
        batches: int,
        epochs: int,
        schedule: str,
        warmup_ratio: float,
    ) -> TrainingStage:
        """A stage of ``epochs`` times ``batches`` optimiser steps, the rest from the config."""
        broadcast_parameters(model, optimizer)
        scheduler = build_scheduler(optimizer, name=schedule, steps=epochs * batches, warmup_ratio=warmup_ratio)
        return cls(
            name=name,
            model=model,
            optimizer=optimizer,
            scheduler=scheduler,
            epochs=epochs,
            micro_batch_size=config["micro_batch_size"],
            device=config["device"],
            enable_amp=config["enable_amp"],
            clip_grad_norm=config["clip_grad_norm"],
        )

    def train_epoch(self, loader: Any, epoch: int, *, show_progress: bool) -> float:
        """Trains on every batch once.

        Args:
            loader: RecBole's training loader.
            epoch: From 0.

        Returns:
            Mean loss of the batches.

        Raises:
            TrainingError: The loss is not finite, or far beyond any that something was learned with.
        """
        self.model.train()
        done = self.checkpointer.begin(epoch) if self.checkpointer else Progress(epoch)
        rows = len(loader._dataset)
        with tqdm(
            total=rows,
            initial=min(done.batches * loader._batch_size, rows),
            unit="rows",
            desc=f"{self.name} {epoch + 1}/{self.epochs}",
            disable=not show_progress,
            dynamic_ncols=True,
        ) as bar:
            for interaction in self.checkpointer.batches(loader) if self.checkpointer else loader:
                done.loss += self.train_batch(interaction.to(self.device))
                done.batches += 1
                if bar.update(len(interaction)):  # it was drawn: once in a while, as a plain backbone takes 10 ms
                    text = f"loss {done.loss / done.batches:.4f}, {self._time_left(bar, epoch, rows)}"
                    bar.set_postfix_str(text, refresh=False)
        loss = done.loss / done.batches
        if loss > _ABSURD_LOSS:
            raise TrainingError(
                f"{self.name}: the mean loss of epoch {epoch + 1} is {loss:.3g}, where random scores have about "
                "1; lower the learning rate, or scale the number features (normalize_field)"
            )
        return loss

    def train_batch(self, interaction: Any) -> float:
        """One optimiser step; gives the loss of the batch."""
        self.optimizer.zero_grad()
        total = 0.0
        parts = self.model.split(interaction, self.micro_batch_size)
        with rank_rng(self.scheduler.last_epoch, self.device):
            for part, weight in shares(self.model, parts):
                with autocast(self.device, self.enable_amp):
                    loss = weight * self.model.calculate_loss(part)
                loss.backward()
                total += loss.item()
        total = all_reduce_gradients(self.optimizer, total)
        if not total - total == 0:
            raise TrainingError(f"{self.name}: the training loss is {total}; lower the learning rate")
        if self.clip_grad_norm:
            clip_gradients(self.model.parameters(), **self.clip_grad_norm)
        self.optimizer.step()
        self.scheduler.step()
        return total

    def _time_left(self, bar: Any, epoch: int, rows: int) -> str:
        done = bar.format_dict
        here = done["n"] - (done["initial"] or 0)  # rows of this process, not of the one it goes on from
        if not done["elapsed"] or not here:
            return ""
        left = (rows * (self.epochs - epoch) - done["n"]) * done["elapsed"] / here
        return f"stage left {tqdm.format_interval(left)}"
