"""What the PLM reads in the prompts to recover a field: the attention case study (ClickPrompt, Table 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.clickprompt.field_masks import masked_fields

__all__ = ["attention_table", "last_attention"]


class _LastCall(TorchFunctionMode):
    """Keeps what the last ``scaled_dot_product_attention`` inside it was given and gave.

    The encoder never holds the weights of its fused attention; these arguments determine them, whatever the
    family and however prompts entered.
    """

    arguments: tuple[Any, ...]
    options: dict[str, Any]
    output: Tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            self.arguments, self.options, self.output = args, kwargs or {}, output
        return output

    def weights(self) -> Tensor:
        """``(B, H, queries, keys)``, each row of which sums to 1."""
        query, key, _ = self.arguments
        scale, mask = self.options.get("scale"), self.options["attn_mask"]
        scores = query @ key.transpose(2, 3) * (query.shape[3] ** -0.5 if scale is None else scale)
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        return scores.softmax(3)


@torch.no_grad()
def last_attention(plm: Any, text: Tensor, lengths: Tensor, prompts: Tensor) -> Tensor:
    """Attention of the text in the last layer.

    Args:
        plm: A prompted encoder, in evaluation mode.
        text: As the encoder takes it: tokens, ``(B, Z)``, or with joint layers states, ``(B, Z, W)``.
        lengths: Of the rows, ``(B,)``.
        prompts: As the encoder takes them.

    Returns:
        ``(B, H, Z, K + Z)``: of each text position to the K prompts, then to the text.
    """
    with _LastCall() as last:
        plm.states(text, lengths, prompts)
    # prompts that stay in the sequence ask, too, and in front
    return last.weights()[:, :, -text.shape[1] :]


def attention_table(model: Any, dataset: Any, rows: Sequence[int]) -> pd.DataFrame:
    """Masks the value of one field at a time and looks at the prompts from there.

    The weights are means over the masked tokens and the heads of the last layer. A PLM that reads forward has no
    mask token and foretells instead: there it is the token before each of the field's that looks, nothing masked.

    Args:
        model: A trained ClickPrompt.
        dataset: The part of its data set that ``rows`` count in.
        rows: Positions of rows.

    Returns:
        A line for each row and field that the row has: ``row``, ``user``, ``item`` (external tokens), ``field``
        (its name in words), ``tokens`` (of the value), ``prompt_1`` to ``prompt_K`` (sum to 1) and ``on_prompts``
        (share of all attention that goes to prompts; the text has the rest).

    Raises:
        SettingError: The model has no prompts to look at, or the data set fewer rows.
    """
    if not hasattr(model, "plm") or not hasattr(model.prompt, "shape"):
        raise SettingError(
            "attention needs a run whose model reads prompts; this one "
            + ("was finetuned without them" if hasattr(model, "plm") else "has no PLM")
            + ": take a run of ClickPrompt with finetune_prompts: True"
        )
    beyond = [row for row in rows if not 0 <= row < len(dataset)]
    if beyond:
        raise SettingError(f"there is no row {beyond[0]}: rows count from 0 to {len(dataset) - 1}")
    model.eval()
    return pd.concat([_of_row(model, dataset, row) for row in rows], ignore_index=True)


@torch.no_grad()
def _of_row(model: Any, dataset: Any, row: int) -> pd.DataFrame:
    device, plm = next(model.parameters()).device, dataset.config["plm"]
    interaction = dataset[torch.tensor([row])].to(device)
    mask_id = None if model.plm.causal else dataset.tokenizer(plm).mask_token_id
    masked = masked_fields(dataset.token_table(plm).to(device), model.plm, interaction, mask_id=mask_id)
    q, _ = model.backbone(interaction)
    prompts = model.prompt(q)  # (L, 1, K, ...)
    count, length = masked.asked.shape
    weights = last_attention(
        model.plm,
        masked.text,
        torch.full((count,), length, device=device),
        prompts.expand(-1, count, -1, -1),
    ).mean(1)  # (fields, Z, K + Z)
    tokens = masked.asked.sum(1)
    on_each = (weights * masked.asked.unsqueeze(2)).sum(1)[:, : prompts.shape[2]] / tokens.unsqueeze(1)
    on_prompts = on_each.sum(1)
    normalised = (on_each / on_prompts.unsqueeze(1)).cpu().double().numpy()
    user, item = (
        str(dataset.id2token(field, int(interaction[field]))) for field in (dataset.uid_field, dataset.iid_field)
    )
    return pd.DataFrame(
        {
            "row": row,
            "user": user,
            "item": item,
            "field": masked.names,
            "tokens": tokens.cpu().numpy(),
            **{f"prompt_{k + 1}": normalised[:, k] for k in range(normalised.shape[1])},
            "on_prompts": on_prompts.cpu().double().numpy(),
        }
    )
