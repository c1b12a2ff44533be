"""The training loop of one stage, shared by pretraining and finetuning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from recbole_clickprompt.embeddings.table import ShardedTable, sharded_tables
from recbole_clickprompt.errors import TrainingError
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.data_parallel import (
    all_reduce_gradients,
    broadcast_parameters,
    own_share,
    rank_rng,
    shares,
)
from recbole_clickprompt.trainer.lazy_adam import clip_gradients
from recbole_clickprompt.trainer.optimizer import build_scheduler
from recbole_clickprompt.trainer.own_rows import OwnRowsLoader
from recbole_clickprompt.trainer.protocols import FollowsTraining

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.interaction import Interaction

    from recbole_clickprompt.trainer.protocols import Trainable

__all__ = ["Progress", "TrainingStage", "autocast"]

# A constant prediction has a loss of 0.7 for clicks and about 10 for masked tokens
_ABSURD_LOSS = 1000.0
_Parts = Iterable[tuple[Any, float]]  # of a batch, and their weights


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """Autocast to bf16, whose range needs no gradient scaler, on any device."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@dataclass
class Progress:
    """Progress within an epoch.

    Attributes:
        epoch: Number of the epoch, from 0.
        batches: Number of batches trained on.
        loss: Sum of their losses.
    """

    epoch: int
    batches: int = 0
    loss: float = 0.0


class BatchCheckpointer(Protocol):
    """Yields the batches of an epoch and saves the state between them; see ``trainer/resume.py``."""

    def begin(self, epoch: int) -> Progress: ...

    def batches(self, loader: Iterable[Interaction]) -> Iterable[Interaction]: ...


@dataclass
class TrainingStage:
    """A model with everything needed to train it.

    Attributes:
        name: Shown next to the progress bar.
        epochs: Number of epochs of the stage.
        micro_batch_size: Rows, over all ranks, that pass through the model at once; gradients are accumulated over
            the batch.
        clip_grad_norm: Arguments of ``clip_grad_norm_``, or None.
        tables: The model's sharded tables, which have an optimizer of their own.
        checkpointer: Saves the state of training, or None.
    """

    name: str
    model: Trainable
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR
    epochs: int
    micro_batch_size: int
    device: torch.device
    enable_amp: bool
    clip_grad_norm: dict[str, Any] | None
    tables: Sequence[ShardedTable] = ()
    checkpointer: BatchCheckpointer | None = None

    @classmethod
    def from_config(
        cls,
        config: Settings,
        *,
        name: str,
        model: Trainable,
        optimizer: torch.optim.Optimizer,
        steps: int,
        epochs: int,
        schedule: str,
        warmup_ratio: float,
        enable_amp: bool,
    ) -> TrainingStage:
        """A stage of so many optimizer steps in so many epochs; everything else is read from ``config``."""
        broadcast_parameters(model, optimizer)
        scheduler = build_scheduler(optimizer, name=schedule, steps=steps, warmup_ratio=warmup_ratio)
        return cls(
            name=name,
            model=model,
            optimizer=optimizer,
            scheduler=scheduler,
            epochs=epochs,
            micro_batch_size=config["micro_batch_size"],
            device=config["device"],
            enable_amp=enable_amp,
            clip_grad_norm=config["clip_grad_norm"],
            tables=[table for _, table in sharded_tables(model)],
        )

    def train_epoch(self, loader: AbstractDataLoader, epoch: int, *, show_progress: bool) -> float:
        """Trains on every batch once.

        Args:
            loader: RecBole's training loader.
            epoch: Number of the epoch, from 0.
            show_progress: Whether to show a progress bar.

        Returns:
            Mean loss of the batches.

        Raises:
            TrainingError: The loss is not finite, or so large that training has diverged.
        """
        self.model.train()
        done = self.checkpointer.begin(epoch) if self.checkpointer else Progress(epoch)
        rows = len(loader._dataset)
        follower = self.model if isinstance(self.model, FollowsTraining) else None
        with tqdm(
            total=rows,
            initial=min(done.batches * loader._batch_size, rows),
            unit="rows",
            desc=f"{self.name} {epoch + 1}/{self.epochs}",
            disable=not show_progress,
            dynamic_ncols=True,
        ) as bar:
            for interaction in self.checkpointer.batches(loader) if self.checkpointer else loader:
                if follower is not None:
                    with autocast(self.device, self.enable_amp):
                        follower.begin_batch(epoch, done.batches)
                batch = interaction.to(self.device)
                if isinstance(loader, OwnRowsLoader):
                    done.loss += self.train_own_rows(batch, loader.share(done.batches))
                else:
                    done.loss += self.train_batch(batch)
                done.batches += 1
                if bar.update(
                    len(interaction)
                ):  # only when tqdm redraws, as a step of a backbone takes just 10 ms
                    text = f"loss {done.loss / done.batches:.4f}, {self._time_left(bar, epoch, rows)}"
                    bar.set_postfix_str(text, refresh=False)
        loss = done.loss / done.batches
        if loss > _ABSURD_LOSS:
            raise TrainingError(
                f"{self.name}: the mean loss of epoch {epoch + 1} is {loss:.3g}, where random scores have about "
                "1; lower the learning rate, or scale the number features (normalize_field)"
            )
        return loss

    def train_batch(self, interaction: Interaction) -> float:
        """Takes one optimizer step.

        Returns:
            Loss of the batch over all ranks.

        Raises:
            TrainingError: The loss is not finite.
        """
        return self._step(interaction, lambda parts: shares(self.model, parts))

    def train_own_rows(self, interaction: Interaction, share: float) -> float:
        """Like ``train_batch``, where ranks share the rows of the data set.

        Args:
            interaction: The rows that this rank has of the batch, or a row of padding.
            share: Their share of the batch.
        """
        return self._step(interaction, lambda parts: own_share(parts, share))

    def _step(self, interaction: Interaction, of_rank: Callable[[_Parts], _Parts]) -> float:
        self.optimizer.zero_grad()
        for table in self.tables:
            table.local.begin_step(float(self.scheduler.get_last_lr()[0]))
        total = 0.0
        parts = self.model.split(interaction, self.micro_batch_size)
        with rank_rng(self.scheduler.last_epoch, self.device):
            for part, weight in of_rank(parts):
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
        for table in self.tables:
            table.local.update()
        self.scheduler.step()
        return total

    def _time_left(self, bar: tqdm, epoch: int, rows: int) -> str:
        state = bar.format_dict
        timed = state["n"] - (state["initial"] or 0)  # without rows processed before the run was resumed
        if not state["elapsed"] or not timed:
            return ""
        seconds = (rows * (self.epochs - epoch) - state["n"]) * state["elapsed"] / timed
        return f"stage left {tqdm.format_interval(seconds)}"
