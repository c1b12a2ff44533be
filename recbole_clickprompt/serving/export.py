"""A trained model as a folder that scores without torch and without the training's data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_clickprompt.files import new_folder
from recbole_clickprompt.preprocessing.checksums import write_checksums
from recbole_clickprompt.serving.load import ONNX_FILE, Trained, build_data, load_trained
from recbole_clickprompt.serving.model import OnnxScores, TorchScores
from recbole_clickprompt.serving.onnx import ExportError, input_names, quantize, write_onnx
from recbole_clickprompt.serving.rows import INPUT_IDS, TEXT_LENGTH
from recbole_clickprompt.serving.score_script import example

__all__ = ["Exported", "export"]

INT8_FILE = "model_int8.onnx"
SCRIPT = "score.py"  # for users to edit
# Largest difference between scores of PyTorch and of the export
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exported:
    """What an export was found to be.

    Attributes:
        files: Name: bytes, of the files in the folder.
        rows: Test rows that were scored.
        difference: Largest difference of a score to PyTorch's.
        auc: Of these rows by the export; None where they are of one class.
        auc_int8: The same with 8-bit weights; None also without them.
    """

    files: dict[str, int]
    rows: int
    difference: float
    auc: float | None
    auc_int8: float | None


def export(run: Path, folder: Path, *, int8: bool, rows: int) -> Exported:
    """Writes a model and its preprocessing into a new folder, and checks it against PyTorch.

    Args:
        run: Checkpoint, or the folder of a run.
        folder: Must not be there yet; on any error it is not there afterwards.
        int8: Also with 8-bit weights.
        rows: Test rows to check with, evenly spaced; at least 2.

    Raises:
        DataError: The folder is there, or the training's data set cannot be had.
        ExportError: The model cannot be exported, or does not give the same scores.
        WeightsError: The run cannot be read.
    """
    with new_folder(folder) as work:
        trained = load_trained(run, "cpu")
        columns, labels = _test_rows(trained, rows)
        trained.preprocessing.save(work)
        path = work / ONNX_FILE
        sample = {name: values[:3] for name, values in columns.items()}
        write_onnx(trained.model, trained.preprocessing, sample, path)
        scores = OnnxScores(path)(columns)
        expected = TorchScores(trained.model, torch.device("cpu"), enable_amp=False)(columns)
        difference = float(np.abs(scores - expected).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{run}: scores of the export differ from PyTorch's by up to {difference:.1e}, more than "
                f"{TOLERANCE:.0e}; nothing was written"
            )
        script = example(trained.preprocessing)
        if script is not None:
            (work / SCRIPT).write_text(script, encoding="utf-8")
        auc_int8 = None
        if int8:
            quantize(path, work / INT8_FILE)
            auc_int8 = _auc(labels, OnnxScores(work / INT8_FILE)(columns))
        write_checksums(work, but=[SCRIPT])
        return Exported(
            files={file.name: file.stat().st_size for file in sorted(work.iterdir())},
            rows=len(labels),
            difference=difference,
            auc=_auc(labels, scores),
            auc_int8=auc_int8,
        )


def _auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else None


def _test_rows(trained: Trained, rows: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns that an exported model takes, and labels, of evenly spaced test rows as training held them."""
    *_, test = trained.data or build_data(trained.config)
    index = torch.from_numpy(np.linspace(0, len(test) - 1, min(rows, len(test))).round().astype(np.int64))
    batch: Any = test[index]
    names = input_names(trained.model)
    columns = {name: batch[name].numpy() for name in names if name not in (INPUT_IDS, TEXT_LENGTH)}
    if trained.preprocessing.text is not None:
        input_ids, lengths = test.token_table(trained.config["plm"])(batch)
        columns |= {INPUT_IDS: input_ids.numpy(), TEXT_LENGTH: lengths.numpy()}
    return columns, batch[test.label_field].numpy()
