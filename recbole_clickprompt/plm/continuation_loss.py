"""The loss of given continuations under a language model that generates text.

Letters: B texts, Z tokens of a text with its continuation, W width of the model's states, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recbole_clickprompt.plm.head_loss import head_loss
from recbole_clickprompt.plm.token_loss import token_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["continuation_loss", "find_head_scale"]

Ids = Sequence[Sequence[int]]


def continuation_loss(
    model: PreTrainedModel,
    inputs: Ids,
    targets: Ids,
    *,
    head_scale: float | None,
    candidates: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean negative log likelihood per target token: teacher forcing.

    A causal model reads input and target as one text, and its state at each position predicts the next token::

        text     x0 x1 x2 | y0 y1 y2 E | padding       E: end token
        states         *    *  *  *                    only these (the last input token, and all but the last
        labels         y0   y1 y2 E                    target token) pass through the LM head

    An encoder reads the input instead, and its decoder the target, shifted by the start token. Padding and input
    are left out by position, never by id: the padding token is often the end token, which has to be learned.

    Padding is at the end, where causal attention never looks, so causal models need no attention mask.

    Args:
        model: A causal model or an encoder-decoder.
        inputs: Token ids of B inputs; not empty.
        targets: Token ids of their continuations, the end token included; not empty.
        head_scale: The result of ``find_head_scale``.
        candidates: The tokens to choose from, sorted, all target tokens among them; None for the vocabulary.

    Returns:
        A scalar in nats, and whether each target token has the highest logit, ``(target tokens,)``, text by text.
    """
    device = model.device
    labels = torch.tensor([token for target in targets for token in target], device=device)
    if candidates is not None:
        labels = torch.searchsorted(candidates, labels)
    arguments, first = _forward_arguments(model, inputs, targets, device)
    lengths = torch.tensor([len(target) for target in targets], device=device)
    row = torch.repeat_interleave(torch.arange(len(targets), device=device), lengths)  # (target tokens,)
    column = torch.arange(len(labels), device=device) - (lengths.cumsum(0) - lengths)[row]
    column = column + torch.tensor(first, device=device)[row]
    if head_scale is None:
        logits = model(**arguments, use_cache=False).logits[row, column]  # (target tokens, V)
        return token_loss(logits if candidates is None else logits[:, candidates], labels)
    states = _states(model, arguments)[row, column]  # (target tokens, W)
    head = model.get_output_embeddings()
    weight, bias = head.weight, head.bias
    if candidates is not None:
        weight, bias = weight[candidates], None if bias is None else bias[candidates]
    return head_loss(states if head_scale == 1 else states * head_scale, weight, bias, labels)


def _forward_arguments(
    model: PreTrainedModel, inputs: Ids, targets: Ids, device: torch.device
) -> tuple[dict[str, Tensor], list[int]]:
    """Arguments of the model's ``forward``, and the column of each text's state that predicts its first target."""
    if not model.config.is_encoder_decoder:
        texts = [[*read, *written[:-1]] for read, written in zip(inputs, targets, strict=True)]
        return {"input_ids": _padded(texts, device)}, [len(read) - 1 for read in inputs]
    mask = _padded([[1] * len(read) for read in inputs], device)
    start = model.config.decoder_start_token_id
    shifted = [[start, *written[:-1]] for written in targets]
    arguments = {
        "input_ids": _padded(inputs, device),
        "attention_mask": mask,
        "decoder_input_ids": _padded(shifted, device),
    }
    return arguments, [0] * len(targets)


def _padded(rows: Ids, device: torch.device) -> Tensor:
    """Rows of ids, padded with 0 at their end, ``(B, Z)``."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)


def _states(model: PreTrainedModel, arguments: dict[str, Tensor]) -> Tensor:
    """The last states, after the final normalization, that the LM head reads, ``(B, Z, W)``."""
    if not model.config.is_encoder_decoder:
        return model.base_model(**arguments, use_cache=False).last_hidden_state
    mask = arguments["attention_mask"]
    read = model.get_encoder()(input_ids=arguments["input_ids"], attention_mask=mask).last_hidden_state
    written = model.get_decoder()(
        input_ids=arguments["decoder_input_ids"],
        encoder_hidden_states=read,
        encoder_attention_mask=mask,
        use_cache=False,
    )
    return written.last_hidden_state


@torch.no_grad()
def find_head_scale(model: PreTrainedModel) -> float | None:
    """The factor between a model's logits and its head applied to its states.

    It is 1 for most families, the square root of 1 / W for T5. Models that do more between states and logits, such
    as limiting them, have no factor; for these all logits are computed by the model itself.

    Returns:
        The factor, found by comparing both on a few tokens; None if there is none.
    """
    head: Any = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return None
    was_training = model.training
    model.eval()
    ids = torch.arange(min(8, head.out_features)).tolist()
    arguments, _ = _forward_arguments(model, [ids], [ids], model.device)
    expected = model(**arguments, use_cache=False).logits.float()
    states = _states(model, arguments)
    model.train(was_training)
    for scale in (1.0, head.in_features**-0.5):
        found = torch.nn.functional.linear(states * scale, head.weight, head.bias).float()
        if torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())):
            return scale
    return None
