"""Attention of the PLM to prompts when it recovers a field: the case study of ClickPrompt, Table 7.

Letters: see ``plm/__init__.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.clickprompt.field_masks import masked_fields
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.text.source import TextSource

if TYPE_CHECKING:
    from recbole_clickprompt.methods.clickprompt.model import ClickPrompt, ClickPromptNoPLM

__all__ = ["attention_table", "last_attention"]


class _LastCall(TorchFunctionMode):
    """A context that records arguments and result of the last ``scaled_dot_product_attention`` in it.

    Fused attention never stores its weights. They follow from the recorded arguments for every family of PLMs and
    every way in which prompts enter.

    Attributes:
        arguments: Query, key and value, split into heads.
        options: ``attn_mask`` and ``scale`` among them.
        output: Result of the call.
    """

    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    output: Tensor

    def __torch_function__(
        self,
        func: Callable[..., Tensor],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Tensor:
        """Called by torch in place of every function; calls the function."""
        output = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            self.arguments, self.options, self.output = args, kwargs or {}, output
        return output

    def weights(self) -> Tensor:
        """Attention weights of the last call, ``(B, H, queries, keys)``; they sum to 1 over the keys."""
        query, key, _ = self.arguments
        scale, mask = self.options.get("scale"), self.options["attn_mask"]
        scores = query @ key.transpose(2, 3) * (query.shape[3] ** -0.5 if scale is None else scale)
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        return scores.softmax(3)


@torch.no_grad()
def last_attention(plm: PromptedEncoder, text: Tensor, lengths: Tensor, prompts: Tensor) -> Tensor:
    """Attention weights of the text in the last layer.

    Args:
        plm: Encoder, in evaluation mode.
        text: Tokens, ``(B, Z)``, or with interaction layers states, ``(B, Z, W)``.
        lengths: Tokens of each row, ``(B,)``.
        prompts: ``(L, B, K, W)``.

    Returns:
        Weights from each text position to the K prompts, then to the text, ``(B, H, Z, K + Z)``.
    """
    with _LastCall() as last:
        plm.states(text, lengths, prompts)
    # Prompts that stay in the sequence (``InputPromptedEncoder``) are the first queries
    return last.weights()[:, :, -text.shape[1] :]


def attention_table(
    model: ClickPrompt | ClickPromptNoPLM, dataset: TextSource, rows: Sequence[int]
) -> pd.DataFrame:
    """Attention from the masked value of each field to the prompts, for selected rows.

    One field is masked at a time. Weights are means over the masked tokens and over the heads of the last layer. A
    causal PLM has no mask token: nothing is masked, and the weights are those of the token before each token of
    the value, which predicts it.

    Args:
        model: A trained model.
        dataset: Part of its data set, such as the test rows.
        rows: Numbers of rows in ``dataset``, from 0.

    Returns:
        One line per row and field that the row has. Columns: ``row``; ``user`` and ``item``, tokens in the files;
        ``field``, its name in words; ``tokens``, number of tokens of the value; ``prompt_1`` to ``prompt_K``,
        attention to each prompt, normalized to sum 1; ``on_prompts``, share of all attention on prompts (the text
        has the rest).

    Raises:
        SettingError: The model reads no prompts, or a row does not exist.
    """
    if not hasattr(model, "plm") or not hasattr(model.prompt, "shape"):
        raise SettingError(
            "attention needs a run whose model reads prompts; this one "
            + ("was finetuned without them" if hasattr(model, "plm") else "has no PLM")
            + ": choose a run of ClickPrompt with finetune_prompts: True"
        )
    beyond = [row for row in rows if not 0 <= row < len(dataset)]
    if beyond:
        raise SettingError(f"there is no row {beyond[0]}: rows count from 0 to {len(dataset) - 1}")
    model.eval()
    return pd.concat([_row_table(model, dataset, row) for row in rows], ignore_index=True)


@torch.no_grad()
def _row_table(model: ClickPrompt, dataset: TextSource, row: int) -> pd.DataFrame:
    """The lines of ``attention_table`` for one row."""
    device, plm = next(model.parameters()).device, dataset.config["plm"]
    interaction = dataset[torch.tensor([row])].to(device)
    mask_id = None if model.plm.causal else dataset.tokenizer(plm).mask_token_id
    masked = masked_fields(dataset.token_table(plm).to(device), model.plm, interaction, mask_id=mask_id)
    q, _ = model.backbone(interaction)
    prompts = model.prompt(q)  # (L, 1, K, W)
    count, length = masked.targets.shape
    weights = last_attention(
        model.plm,
        masked.text,
        torch.full((count,), length, device=device),
        prompts.expand(-1, count, -1, -1),
    ).mean(1)  # (fields, Z, K + Z)
    tokens = masked.targets.sum(1)
    on_each = (weights * masked.targets.unsqueeze(2)).sum(1)[:, : prompts.shape[2]] / tokens.unsqueeze(1)
    on_prompts = on_each.sum(1)
    normalized = (on_each / on_prompts.unsqueeze(1)).cpu().double().numpy()
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
            **{f"prompt_{k + 1}": normalized[:, k] for k in range(normalized.shape[1])},
            "on_prompts": on_prompts.cpu().double().numpy(),
        }
    )
