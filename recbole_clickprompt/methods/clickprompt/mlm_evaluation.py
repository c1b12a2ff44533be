"""Metrics of PA-MLM: what is recovered, and how much the prompts contribute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_clickprompt import distributed
from recbole_clickprompt.methods.clickprompt.pamlm import PAMLM
from recbole_clickprompt.methods.masked_lm import MaskedRows
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.stage import autocast

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

__all__ = ["evaluate_pamlm"]


@torch.no_grad()
def evaluate_pamlm(config: Settings, model: PAMLM, data: AbstractDataLoader) -> dict[str, float]:
    """Evaluates PA-MLM on rows that are masked once, by the seed of the run.

    Args:
        config: Settings of the run.
        model: The pretrained model, on the run's device.
        data: Loader of the rows; processes share each batch.

    Returns:
        Losses are in nats per masked token.

        - ``mlm_loss``, ``mlm_accuracy``: with the prompts of each row.
        - ``mlm_loss_without_prompts``: with prompts hidden.
        - ``mlm_loss_swapped_prompts``: with the prompts of another row. The difference to ``mlm_loss`` measures
          what prompts reveal about their row.
        - ``prompt_spread``: standard deviation of the elements of a prompt over rows, divided by their root mean
          square; 0 if all rows have the same prompts.
    """
    device = config["device"]
    model.eval()
    group = distributed.current()
    total = dict.fromkeys(("loss", "recovered", "hidden", "swapped", "spread", "masked", "rows"), 0.0)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config["seed"])
        for interaction, *_ in data:
            parts = model.masked_parts(interaction.to(device), config["micro_batch_size"])
            for rows, _ in parts[group.rank :: group.world]:
                with autocast(device, config["enable_amp"]):
                    sums, count = _sums(model, rows)
                    spread = _spread(model, rows) * len(rows.lengths)
                for name, value in {**sums, "spread": spread, "masked": count, "rows": len(rows.lengths)}.items():
                    total[name] += value
    total = dict(zip(total, group.all_reduce([*total.values()], device), strict=True))
    masked = total["masked"]
    return {
        "mlm_loss": total["loss"] / masked,
        "mlm_accuracy": total["recovered"] / masked,
        "mlm_loss_without_prompts": total["hidden"] / masked,
        "mlm_loss_swapped_prompts": total["swapped"] / masked,
        "prompt_spread": total["spread"] / total["rows"],
    }


def _sums(model: PAMLM, rows: MaskedRows) -> tuple[dict[str, float], int]:
    """Losses and recovered tokens, summed over the masked tokens of a part of a batch; and their number."""
    batch, device = len(rows.lengths), rows.lengths.device
    hidden = torch.zeros(batch, model.num_prompts, dtype=torch.bool, device=device)
    # Rows are sorted by length, so the neighbor has a similar one
    others = torch.arange(batch, device=device).roll(1)
    logits, labels = model.logits(rows)

    def summed(prediction: tuple[Tensor, Tensor]) -> float:
        return F.cross_entropy(prediction[0].float(), prediction[1], reduction="sum").item()

    sums = {
        "loss": summed((logits, labels)),
        "recovered": float((logits.argmax(1) == labels).sum()),
        "hidden": summed(model.logits(rows, prompt_mask=hidden)),
        "swapped": summed(model.logits(rows, prompts_of=others)),
    }
    return sums, len(labels)


def _spread(model: PAMLM, rows: MaskedRows) -> float:
    """``prompt_spread`` of a part of a batch."""
    prompts = model.prompt(model.backbone(rows.interaction)[0]).float()  # (L, B, K, W)
    return (prompts.std(1, correction=0).square().mean().sqrt() / prompts.square().mean().sqrt()).item()
