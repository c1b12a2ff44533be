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
from recbole_clickprompt.plm.weights import first_line
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.serving.rows import INPUT_IDS, TEXT_LENGTH

__all__ = ["ExportError", "input_names", "quantize", "write_onnx"]

_OUTPUT = "score"
# PLM families that torch's exporter does not support, and why
_REFUSED = {
    "deberta-v2": "torch's exporter fails on attention with a bias; score with `recbole-cp predict`, "
    "or train with a BERT, RoBERTa, ELECTRA, ALBERT, DistilBERT, ModernBERT, GPT-2 or BART",
}


class ExportError(UserError):
    """A model that cannot be exported, or whose export has different scores."""


class _Columns:
    """The part of ``Interaction`` that models use, without its checks of tensor sizes, which break tracing."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.interaction = columns

    def __getitem__(self, name: str) -> Tensor:
        return self.interaction[name]


class _WholeTokens(nn.Module):
    """Returns all token columns; cutting to the longest row would depend on values, which breaks tracing."""

    def forward(self, batch: _Columns) -> tuple[Tensor, Tensor]:
        return batch[INPUT_IDS], batch[TEXT_LENGTH]


class _Scores(nn.Module):
    """A model as a function of tensors."""

    def __init__(self, model: AbstractRecommender, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *columns: Tensor) -> Tensor:
        """Scores, ``(B,)``."""
        return self.model.probability(self.model(_Columns(dict(zip(self.names, columns, strict=True)))))


def input_names(model: AbstractRecommender, preprocessing: Preprocessing) -> list[str]:
    """Input columns of an exported model: features of its backbone, if it has one, the history, then the text."""
    features = feature_names(model.backbone.model) if hasattr(model, "backbone") else []
    if history := preprocessing.history:
        features += history.encoded
    text = [INPUT_IDS, TEXT_LENGTH] if hasattr(model, "plm") else []
    return [*features, *text]


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
    if preprocessing.text is not None:
        shapes[names.index(INPUT_IDS)][1] = torch.export.Dim("tokens", min=2, max=preprocessing.text.max_length)
    text = getattr(model, "text", None)
    try:
        if text is not None:
            model.text = _WholeTokens()
        with _quiet():
            program = torch.export.export(
                _Scores(model, names).eval(),
                tuple(torch.from_numpy(sample[name]) for name in names),
                dynamic_shapes=(tuple(shapes),),
                strict=False,
            )
            exported = torch.onnx.export(
                program, (), dynamo=True, input_names=names, output_names=[_OUTPUT], verbose=False
            )
            assert exported is not None
            exported.save(str(path))
    except Exception as error:  # torch raises many different classes
        core = model.backbone.model if hasattr(model, "backbone") else model
        raise ExportError(
            f"{type(core).__name__} cannot be exported by this torch: {first_line(error)}"
        ) from error
    finally:
        if text is not None:
            model.text = text


def _check_exportable(model: AbstractRecommender, preprocessing: Preprocessing) -> None:
    try:
        import onnx  # noqa: F401 - needed by torch's exporter
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise SettingError(
            f"export needs the package {error.name}: pip install 'recbole-clickprompt[export]'"
        ) from error
    if not input_names(model, preprocessing):
        raise ExportError(
            f"{type(model).__name__} cannot be exported: it has neither a backbone nor a PLM, so its inputs are "
            "unknown; score with `recbole-cp predict`"
        )
    if text_model := getattr(model, "plm", None):
        family = text_model.encoder.config.model_type
        if family in _REFUSED:
            raise ExportError(f"a {family!r} model cannot be exported: {_REFUSED[family]}")
        if text_model.num_frozen_layers:
            raise ExportError(
                "a model with plm_interaction_layers cannot be exported: its lower layers read texts separately; "
                "score with `recbole-cp predict`"
            )


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
