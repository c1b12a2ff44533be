"""What a pretrained model recovers, and how much of it the prompts tell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_clickprompt import distributed
from recbole_clickprompt.methods.clickprompt.pamlm import PAMLM
from recbole_clickprompt.methods.masked_lm import MaskedRows
from recbole_clickprompt.trainer.stage import autocast

__all__ = ["evaluate_pamlm"]


@torch.no_grad()
def evaluate_pamlm(config: Any, model: PAMLM, data: Any) -> dict[str, float]:
    """MLM figures on rows that are masked once, from the run's seed.

    Returns:
        ``mlm_loss`` (nats a masked token) and ``mlm_accuracy``; ``mlm_loss_without_prompts`` where prompts are
        hidden; ``mlm_loss_swapped_prompts`` where each row has those of another row: what prompts tell about
        their own row is the difference to the first. ``prompt_spread`` is the standard deviation of a prompt's
        entries over rows, as a share of their root mean square: 0 where all rows have the same prompts.
    """
    device = config["device"]
    model.eval()
    here = distributed.current()
    total = dict.fromkeys(("own", "right", "hidden", "swapped", "spread", "asked", "rows"), 0.0)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config["seed"])
        for interaction, *_ in data:
            parts = model.masked_parts(interaction.to(device), config["micro_batch_size"])
            for rows, _ in parts[here.rank :: here.world]:
                with autocast(device, config["enable_amp"]):
                    sums, count = _sums(model, rows)
                    spread = _spread(model, rows) * len(rows.lengths)
                for name, value in {**sums, "spread": spread, "asked": count, "rows": len(rows.lengths)}.items():
                    total[name] += value
    total = dict(zip(total, here.all_reduce([*total.values()], device), strict=True))
    asked = total["asked"]
    return {
        "mlm_loss": total["own"] / asked,
        "mlm_accuracy": total["right"] / asked,
        "mlm_loss_without_prompts": total["hidden"] / asked,
        "mlm_loss_swapped_prompts": total["swapped"] / asked,
        "prompt_spread": total["spread"] / total["rows"],
    }


def _sums(model: PAMLM, rows: MaskedRows) -> tuple[dict[str, float], int]:
    """Losses summed over the masked tokens, tokens recovered, and how many were masked."""
    batch, device = len(rows.lengths), rows.lengths.device
    hidden = torch.zeros(batch, model.num_prompts, dtype=torch.bool, device=device)
    # Rows are sorted by length, so the next one is of the same kind
    others = torch.arange(batch, device=device).roll(1)
    logits, labels = model.logits(rows)

    def summed(given: tuple[Tensor, Tensor]) -> float:
        return F.cross_entropy(given[0].float(), given[1], reduction="sum").item()

    sums = {
        "own": summed((logits, labels)),
        "right": float((logits.argmax(1) == labels).sum()),
        "hidden": summed(model.logits(rows, prompt_mask=hidden)),
        "swapped": summed(model.logits(rows, prompts_of=others)),
    }
    return sums, len(labels)


def _spread(model: PAMLM, rows: MaskedRows) -> float:
    prompts = model.prompt(model.backbone(rows.interaction)[0]).float()  # (L, B, K, W)
    return (prompts.std(1, correction=0).square().mean().sqrt() / prompts.square().mean().sqrt()).item()
