"""The student as an encoder of texts: one forward pass without generation gives a vector per text.

Letters: N texts, Z tokens of the longest of them, W width of the student's states.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.msd.last_token import LAST_TOKEN
from recbole_clickprompt.methods.msd.student_lora import add_lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["StudentEncoder"]

_NORMS = ("norm", "ln_f")
_NOT_HASHED = ("_name_or_path", "transformers_version")  # of the config


class _NoPositions(nn.Module):
    """Replaces GPT-2's position embeddings above its first layer."""

    def forward(self, position_ids: Tensor) -> Tensor:
        """A zero to add."""
        return torch.zeros((), device=position_ids.device)


class StudentEncoder(nn.Module):
    """A language model that reads texts and returns a vector for each.

    It is the mean of the text's last hidden states, after the final norm, or that of its last token. With
    ``lora_layers`` a causal model is cut in two::

        tokens (N, Z) ──> embeddings, lower layers: frozen ──> states (N, Z, W) ──> upper layers ──> vectors (N, W)
                              ``lower``, once per text          kept in a file         ``forward``

    Texts are padded on the right, where a causal model's tokens never look, so it needs no mask.

    Args:
        student: transformers' causal model or encoder-decoder.
        upper_layers: ``lora_layers``: layers from the top that are trained; None for all.
        lora: The setting ``plm_lora``; None trains the weights of these layers themselves.
        pooling: The setting ``student_pooling``, ``mean`` or ``last``; an encoder-decoder has ``mean``.
        trained: False freezes everything; then there are no adapters.

    Attributes:
        width: W.
        pooling: The argument.
        lora_scale: alpha / r of LoRA; 0 without.
        num_frozen: Layers below those that are trained; 0 if all are trained.

    Raises:
        SettingError: The family or the number of layers does not support ``lora_layers``, the family does not
            support ``pooling``, or LoRA fails.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        *,
        upper_layers: int | None,
        lora: Mapping[str, Any] | None,
        pooling: str,
        trained: bool,
    ) -> None:
        super().__init__()
        self._is_causal = not student.config.is_encoder_decoder
        if pooling == "last" and not self._is_causal:
            raise SettingError(
                f"student_pooling is last, but the student is the encoder-decoder {student.config.model_type!r}, "
                "whose encoder reads in both directions; set mean"
            )
        self.pooling = pooling
        self.base: Any = student.base_model if self._is_causal else student.get_encoder()
        self.family: str = student.config.model_type
        self.width = int(student.get_input_embeddings().weight.shape[1])
        self._layers_name, layers = _layers_of(self.base)
        self._splits = self._is_causal and _can_split(self.base.config, self.family)
        self.num_frozen = self._frozen_layers(upper_layers, len(layers))
        self.base.requires_grad_(False)
        self.lora_scale = 0.0
        if trained:
            upper = layers[self.num_frozen :]
            if lora is not None:
                self.lora_scale = add_lora(upper, lora, family=self.family)
            elif self.num_frozen:
                upper.requires_grad_(True)
                self._norm.requires_grad_(True)
            else:
                self.base.requires_grad_(True)
        self.train(self.training)

    def _frozen_layers(self, upper: int | None, layers: int) -> int:
        if upper is None or upper == layers:
            return 0
        if upper > layers:
            raise SettingError(f"lora_layers is {upper}, but the student has {layers} layers; lower it")
        if not self._splits:
            raise SettingError(
                f"lora_layers: the lower layers of a {self.family!r} student cannot be run separately from the "
                f"upper ones; leave it at None, or use a student of the families {', '.join(LAST_TOKEN)} with "
                "full attention in all layers"
            )
        return layers - upper

    @property
    def _layers(self) -> nn.ModuleList:
        return getattr(self.base, self._layers_name)

    @property
    def _norm(self) -> nn.Module:
        return next(getattr(self.base, name) for name in _NORMS if hasattr(self.base, name))

    def train(self, mode: bool = True) -> StudentEncoder:
        """As for ``nn.Module``; of all dropouts only LoRA's is ever active: equal texts have equal vectors."""
        super().train(mode)
        self.base.eval()
        for name, module in self.base.named_modules():
            if "lora_dropout" in name:
                module.train(mode)
        return self

    def is_trained(self) -> bool:
        """Whether any weight is trained."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def load_student(self, student: PreTrainedModel) -> None:
        """Copies the weights of a model of the same structure, without adapters."""
        base = student.base_model if self._is_causal else student.get_encoder()
        weights = base.state_dict()
        with torch.no_grad():
            for name, weight in self.base.state_dict().items():
                if ".lora_" not in name:
                    weight.copy_(weights[name.replace(".base_layer.", ".")])

    def lower_hash(self) -> str:
        """A hash of the embeddings and the frozen layers, in hexadecimal."""
        config = {
            k: v
            for k, v in self.base.config.to_dict().items()
            if k not in ("_name_or_path", "transformers_version")
        }
        digest = hashlib.sha256(repr(sorted(config.items(), key=str)).encode())
        layers = range(self.num_frozen, len(self._layers))
        above = (*(f"{self._layers_name}.{number}." for number in layers), *(f"{name}." for name in _NORMS))
        for name, weight in sorted(self.base.state_dict().items()):
            if not name.startswith(above):
                digest.update(f"{name} {tuple(weight.shape)}".encode())
                digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def lower(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """What enters the first trained layer: the states of frozen layers, or without any the embeddings.

        Args:
            tokens: ``(N, Z)`` int64, padded on the right.
            lengths: Tokens of each text, ``(N,)``.

        Returns:
            ``(N, Z, W)``, without meaning at padding.
        """
        embedded = self.base.get_input_embeddings()(tokens)
        return self._run(self._layers[: self.num_frozen], embedded, first=True) if self.num_frozen else embedded

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """
        Args:
            inputs: Tokens, ``(N, Z)`` int64, padded on the right; with frozen layers also their states from
                ``lower``, ``(N, Z, W)``.
            lengths: Tokens of each text, ``(N,)``; at least 1.

        Returns:
            Vectors, ``(N, W)`` float32.
        """
        if not self._splits:
            return self._whole(inputs, lengths).float()
        if inputs.ndim == 2:
            inputs = self.lower(inputs, lengths)
        upper = self._layers[self.num_frozen :]
        if self.pooling == "mean":
            states = self._run(upper, inputs, first=not self.num_frozen)
            return _mean(self._norm(states), lengths)
        *middle, top = upper
        if middle or not self.num_frozen:
            inputs = self._run(middle, inputs, first=not self.num_frozen)
        return LAST_TOKEN[self.family](self.base, top, inputs, lengths - 1).float()

    def _run(self, layers: Sequence[nn.Module] | nn.ModuleList, states: Tensor, *, first: bool) -> Tensor:
        """Some layers of a causal model without the final norm; ``first``: below are only the token embeddings."""
        part = copy.copy(self.base)
        modules = {**self.base._modules, self._layers_name: nn.ModuleList(layers)}
        modules |= {name: nn.Identity() for name in _NORMS if name in modules}
        if not first and "wpe" in modules:
            modules["wpe"] = _NoPositions()
        part.__dict__["_modules"] = modules
        return part(inputs_embeds=states, use_cache=False).last_hidden_state

    def _whole(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """All layers of any model, ``(N, W)``."""
        mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]  # (N, Z)
        extra = {"use_cache": False} if self._is_causal else {}
        states = self.base(input_ids=tokens, attention_mask=mask.long(), **extra).last_hidden_state
        if self.pooling == "last":
            return states[torch.arange(len(lengths), device=lengths.device), lengths - 1]
        return _mean(states, lengths)


def _mean(states: Tensor, lengths: Tensor) -> Tensor:
    """The mean over each text's tokens, ``(N, Z, W)`` to ``(N, W)`` float32."""
    within = torch.arange(states.shape[1], device=lengths.device) < lengths[:, None]  # (N, Z)
    return (states.float() * within.unsqueeze(2)).sum(1) / lengths[:, None]  # sums in float32, under autocast too


def _layers_of(base: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of layers of a base model, and its name; OPT's, for example, is one level below."""
    lists = [(name, child) for name, child in base.named_children() if isinstance(child, nn.ModuleList)]
    if len(lists) == 1:
        return lists[0]
    found = [(name, child) for name, child in base.named_modules() if isinstance(child, nn.ModuleList)]
    if not found:
        raise SettingError(f"student: {type(base).__name__} has no list of layers; use another model")
    return max(found, key=lambda entry: len(entry[1]))


def _can_split(config: Any, family: str) -> bool:
    """Whether upper layers can be run on the states of lower ones: a known family without local attention."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if family == "mistral" else None
    return family in LAST_TOKEN and kinds == {"full_attention"} and window is None
