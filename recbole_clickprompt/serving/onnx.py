"""Writes a trained model as an ONNX file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor, nn

from recbole_clickprompt.backbones.base import feature_names
from recbole_clickprompt.errors import SettingError, UserError
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.weights import first_line
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving.scores import STATES
from recbole_clickprompt.serving.text import INPUT_IDS, TEXT_LENGTH
from recbole_clickprompt.trainer.text_vectors import encoded_levels

__all__ = ["ExportError", "input_names", "quantize", "write_frozen_layers", "write_onnx"]

_OUTPUT = "score"
# PLM families that torch's exporter does not support, and why
_REFUSED = {
    "deberta-v2": "torch's exporter fails on attention with a bias; score with `recbole-cp predict`, "
    "or train with a BERT, RoBERTa, ELECTRA, ALBERT, DistilBERT, ModernBERT, GPT-2, Llama, T5 or BART",
}


class ExportError(UserError):
    """A model that cannot be exported, or whose export has different scores."""


class _Columns:
    """The part of ``Interaction`` that models use, without its checks of tensor sizes, which break tracing."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.interaction = columns

    def __getitem__(self, name: str) -> Tensor:
        return self.interaction[name]

    def __contains__(self, name: str) -> bool:
        return name in self.interaction


class _WholeText(nn.Module):
    """Returns whole columns of text; cutting to the longest row would depend on values, which breaks tracing."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.column = column

    def forward(self, batch: _Columns) -> tuple[Tensor, Tensor]:
        return batch[self.column], batch[TEXT_LENGTH]


class _Scores(nn.Module):
    """A model as a function of tensors."""

    def __init__(self, model: AbstractRecommender, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *columns: Tensor) -> Tensor:
        """Scores, ``(B,)``."""
        return self.model.probability(self.model(_Columns(dict(zip(self.names, columns, strict=True)))))


class _FrozenLayers(nn.Module):
    """The frozen layers of a PLM as a function of tensors."""

    def __init__(self, plm: PromptedEncoder) -> None:
        super().__init__()
        self.plm = plm

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """States, ``(N, Z, W)``."""
        return self.plm.encode_lower(input_ids, lengths)


def input_names(model: AbstractRecommender, preprocessing: Preprocessing) -> list[str]:
    """Input columns of an exported model: features of its backbone, if it has one, the ids whose vectors it looks
    up, the history, then the text.
    """
    features = feature_names(model.backbone.model) if hasattr(model, "backbone") else []
    ids = {"user": preprocessing.user, "item": preprocessing.item}
    features += [ids[level] for level in encoded_levels(model) if ids[level] not in features]
    if history := preprocessing.history:
        features += history.encoded
    text = [_text_column(model), TEXT_LENGTH] if hasattr(model, "plm") else []
    return [*features, *text]


def _text_column(model: AbstractRecommender) -> str:
    return STATES if model.plm.num_frozen_layers else INPUT_IDS


def write_onnx(
    model: AbstractRecommender, preprocessing: Preprocessing, sample: Mapping[str, np.ndarray], path: Path
) -> None:
    """Exports a model for any number of rows and, with text, any number of tokens up to the maximum length.

    Args:
        model: A ``trainer.protocols.CTRModel``, on the CPU.
        preprocessing: The preprocessing of the model.
        sample: Input columns of two or more rows.
        path: The file to write.

    Raises:
        SettingError: A package of the extra ``export`` is missing.
        ExportError: torch cannot export this model.
    """
    _check_exportable(model, preprocessing)
    names = input_names(model, preprocessing)
    batch = torch.export.Dim("batch", min=1)
    shapes: list[dict[int, Any]] = [{0: batch} for _ in names]
    text = getattr(model, "text", None)
    if preprocessing.text is not None:
        column = _text_column(model)
        shapes[names.index(column)][1] = torch.export.Dim("tokens", min=2, max=preprocessing.text.max_length)
        model.text = _WholeText(column)
    core = model.backbone.model if hasattr(model, "backbone") else model
    try:
        _write(
            _Scores(model, names),
            type(core).__name__,
            {n: sample[n] for n in names},
            (tuple(shapes),),
            _OUTPUT,
            path,
        )
    finally:
        if text is not None:
            model.text = text


def write_frozen_layers(plm: PromptedEncoder, max_length: int, path: Path) -> None:
    """Exports the frozen layers of a PLM for any number of texts of up to ``max_length`` tokens.

    Args:
        plm: A PLM with frozen layers, on the CPU.
        max_length: Maximum number of tokens.
        path: The file to write.

    Raises:
        ExportError: torch cannot export this PLM.
    """
    texts, tokens = torch.export.Dim("texts", min=1), torch.export.Dim("tokens", min=2, max=max_length)
    sample = {INPUT_IDS: np.zeros((3, 4), dtype=np.int64), TEXT_LENGTH: np.array([4, 3, 2])}
    name = type(plm.encoder).__name__
    _write(_FrozenLayers(plm), name, sample, ({0: texts, 1: tokens}, {0: texts}), STATES, path)


def _write(
    module: nn.Module,
    name: str,
    sample: Mapping[str, np.ndarray],
    shapes: tuple[Any, ...],
    output: str,
    path: Path,
) -> None:
    """Exports a function of tensors; ``shapes`` are the dynamic dimensions of its arguments."""
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(
                module.eval(),
                tuple(map(torch.from_numpy, sample.values())),
                dynamic_shapes=shapes,
                strict=False,
            )
            exported = torch.onnx.export(
                program, (), dynamo=True, input_names=list(sample), output_names=[output], verbose=False
            )
            assert exported is not None
            exported.save(str(path))
    except Exception as error:  # torch raises many different classes
        raise ExportError(f"{name} cannot be exported by this torch: {first_line(error)}") from error


def _check_exportable(model: AbstractRecommender, preprocessing: Preprocessing) -> None:
    try:
        import onnx  # noqa: F401 - needed by torch's exporter
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise SettingError(
            f"export needs the package {error.name}: pip install 'recbole-clickprompt[export]'"
        ) from error
    if reason := getattr(model, "no_export", ""):
        raise ExportError(f"{type(model).__name__} cannot be exported: {reason}; score with `recbole-cp predict`")
    if not input_names(model, preprocessing):
        raise ExportError(
            f"{type(model).__name__} cannot be exported: it has neither a backbone nor a PLM, so its inputs are "
            "unknown; score with `recbole-cp predict`"
        )
    if text_model := getattr(model, "plm", None):
        family = text_model.encoder.config.model_type
        if family in _REFUSED:
            raise ExportError(f"a {family!r} model cannot be exported: {_REFUSED[family]}")


def quantize(path: Path, target: Path) -> None:
    """Writes an ONNX file whose weights, including embeddings, are 8-bit integers, which it also computes in."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    # onnxruntime transposes weights, which then contradict the shapes that torch recorded
    del model.graph.value_info[:]
    with _quiet():
        quantize_dynamic(model, target, weight_type=QuantType.QInt8)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses messages of torch and onnxruntime about their internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
