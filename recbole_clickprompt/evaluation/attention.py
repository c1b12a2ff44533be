"""What the PLM reads in the prompts to recover a field: the attention case study (ClickPrompt, Table 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from recbole_clickprompt.data.spans import RowTokens, row_tokens
from recbole_clickprompt.errors import SettingError

__all__ = ["attention_table", "last_attention", "prompt_columns"]


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
def last_attention(plm: Any, input_ids: Tensor, lengths: Tensor, prompts: Tensor) -> Tensor:
    """Attention of the text in the last layer.

    Args:
        plm: A prompted encoder, in evaluation mode.
        input_ids: Tokens, ``(B, Z)``.
        lengths: Of the rows, ``(B,)``.
        prompts: As the encoder takes them.

    Returns:
        ``(B, H, Z, K + Z)``: of each text position to the K prompts, then to the text.
    """
    with _LastCall() as last:
        plm.states(input_ids, lengths, prompts)
    # prompts that stay in the sequence ask, too, and in front
    return last.weights()[:, :, -input_ids.shape[1] :]


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


def prompt_columns(table: pd.DataFrame) -> list[str]:
    """The columns of an ``attention_table`` that hold the K prompts."""
    return [name for name in table.columns if name.startswith("prompt_")]


@torch.no_grad()
def _of_row(model: Any, dataset: Any, row: int) -> pd.DataFrame:
    interaction = dataset[torch.tensor([row])]
    config = dataset.config
    tokenizer = dataset.tokenizer(config["plm"])
    keys = {field.key: int(interaction[field.key]) for field in model.tokens.textualizer.fields}
    tokens = row_tokens(
        model.tokens.textualizer,
        list(config["text_fields"].values()),
        tokenizer,
        keys,
        max_length=model.tokens.max_length,
    )
    device = next(model.parameters()).device
    input_ids, asked = (
        t.to(device) for t in _masked(tokens, None if model.plm.causal else tokenizer.mask_token_id)
    )
    q, _ = model.backbone(interaction.to(device))
    prompts = model.prompt(q)  # (L, 1, K, ...)
    count = len(input_ids)
    weights = last_attention(
        model.plm,
        input_ids,
        input_ids.new_full((count,), input_ids.shape[1]),
        prompts.expand(-1, count, -1, -1),
    ).mean(1)  # (fields, Z, K + Z)
    on_each = (weights * asked.unsqueeze(2)).sum(1)[:, : prompts.shape[2]] / asked.sum(1, keepdim=True)
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
            "field": list(tokens.fields),
            "tokens": [len(places) for places in tokens.fields.values()],
            **{f"prompt_{k + 1}": normalised[:, k] for k in range(normalised.shape[1])},
            "on_prompts": on_prompts.cpu().double().numpy(),
        }
    )


def _masked(tokens: RowTokens, mask_id: int | None) -> tuple[Tensor, Tensor]:
    """The text once for each field, and True where its attention is asked for: both ``(fields, Z)``."""
    input_ids = torch.tensor([tokens.input_ids] * len(tokens.fields))
    asked = torch.zeros_like(input_ids, dtype=torch.bool)
    for line, places in enumerate(tokens.fields.values()):
        if mask_id is None:
            # the very first token of a text is foretold by none
            asked[line, [max(place - 1, 0) for place in places]] = True
        else:
            input_ids[line, places] = mask_id
            asked[line, places] = True
    return input_ids, asked
