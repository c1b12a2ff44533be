"""Exports a trained model as a folder that scores without torch and without the training data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_clickprompt.files import new_folder
from recbole_clickprompt.host.published import is_published
from recbole_clickprompt.preprocessing.checksums import write_checksums
from recbole_clickprompt.serving.exported_files import FROZEN_FILE, ONNX_FILE, exported_states, save_states
from recbole_clickprompt.serving.load import Trained, build_data, load_trained
from recbole_clickprompt.serving.onnx import ExportError, input_names, quantize, write_frozen_layers, write_onnx
from recbole_clickprompt.serving.rows import Counts, RowEncoder
from recbole_clickprompt.serving.sample_rows import sample_rows
from recbole_clickprompt.serving.scores import STATES, OnnxScores, TorchScores, torch_scores
from recbole_clickprompt.serving.text import INPUT_IDS, NEW_LENGTHS, NEW_TOKENS, TEXT_LENGTH
from recbole_clickprompt.serving.text_states import TextStates
from recbole_clickprompt.text.states import StateTable
from recbole_clickprompt.trainer.text_vectors import encoded_levels

__all__ = ["Exported", "export"]

INT8_FILE = "model_int8.onnx"
SCRIPT = "score.py"  # users may edit it
# Largest difference between scores of PyTorch and of the export
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        files: Size in bytes of each file in the folder, by name.
        rows: Number of rows that were scored.
        kind: Which rows these are, in words: test rows; or rows of known values, for a published model.
        difference: Largest absolute difference of a score from PyTorch's.
        auc: AUC of the exported model on these rows; None if they have only one class or no labels.
        auc_int8: AUC with 8-bit weights; None also if they were not exported.
        text_levels: Levels (user, item) whose texts the model encodes and the export does not.
    """

    files: dict[str, int]
    rows: int
    kind: str
    difference: float
    auc: float | None
    auc_int8: float | None
    text_levels: list[str]


def export(run: Path, folder: Path, *, int8: bool, rows: int) -> Exported:
    """Writes a model and its preprocessing into a new folder, and checks it against PyTorch.

    Args:
        run: Checkpoint, the folder of a run, or that of a published model.
        folder: Must not exist; it is not created on any error.
        int8: Also export 8-bit weights.
        rows: Number of rows to check, at least 2: evenly spaced test rows; for a published model, which has none,
            rows made of its vocabulary.

    Raises:
        DataError: The folder exists, or the data set of the training run cannot be read.
        ExportError: The model cannot be exported, or its scores differ.
        WeightsError: The run cannot be read.
    """
    with new_folder(folder) as work:
        trained = load_trained(run, "cpu")
        compute = torch_scores(trained.model, trained.preprocessing, torch.device("cpu"), enable_amp=False)
        published = is_published(run)
        columns, labels = _known_rows(trained, compute, rows) if published else _test_rows(trained, rows)
        trained.preprocessing.save(work)
        path = work / ONNX_FILE
        sample = {name: values[:3] for name, values in columns.items()}
        states = None
        if compute.states is not None:
            states = _write_states(trained, work)
            sample |= _states_of(compute.states.table, sample)
        write_onnx(trained.model, trained.preprocessing, sample, path)
        scores, expected = OnnxScores(path, states)(columns), compute(columns)
        difference = float(np.abs(scores - expected).max())
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{run}: scores of the export differ from PyTorch's by up to {difference:.1e}, more than "
                f"{TOLERANCE:.0e}; nothing was written"
            )
        shutil.copyfile(Path(__file__).with_name(SCRIPT), work / SCRIPT)
        auc_int8 = None
        if int8:
            quantize(path, work / INT8_FILE)
            auc_int8 = _auc(labels, OnnxScores(work / INT8_FILE, states)(columns))
        write_checksums(work, but=[SCRIPT])
        return Exported(
            files={file.name: file.stat().st_size for file in sorted(work.iterdir())},
            rows=len(scores),
            kind="rows of known values" if published else "test rows",
            difference=difference,
            auc=_auc(labels, scores),
            auc_int8=auc_int8,
            text_levels=encoded_levels(trained.model),
        )


def _write_states(trained: Trained, folder: Path) -> TextStates:
    """Writes the states of known texts and the frozen layers, and reads them again."""
    text, model = trained.preprocessing.text, trained.model
    assert text is not None
    save_states(model.text, folder)
    write_frozen_layers(model.plm, text.max_length, folder / FROZEN_FILE)
    return exported_states(folder, text)


def _states_of(table: StateTable, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """States of the texts of rows, and the number of their tokens."""
    states, lengths = table({key: torch.from_numpy(columns[key]) for key in table.keys})
    return {STATES: states.float().numpy(), TEXT_LENGTH: lengths.numpy()}


def _auc(labels: np.ndarray | None, scores: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    if labels is None or not 0 < labels.sum() < len(labels):
        return None
    return float(roc_auc_score(labels, scores))


def _known_rows(trained: Trained, compute: TorchScores, rows: int) -> tuple[dict[str, np.ndarray], None]:
    """Input columns of the exported model of rows made of its vocabulary, which have no labels."""
    encode = RowEncoder(trained.preprocessing, separate_texts=compute.states is not None)
    return encode(sample_rows(trained.preprocessing, rows), Counts()), None


def _test_rows(trained: Trained, rows: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Input columns of the exported model, and labels, of evenly spaced test rows as training read them."""
    *_, test = trained.data or build_data(trained.config)
    index = torch.from_numpy(np.linspace(0, len(test) - 1, min(rows, len(test))).round().astype(np.int64))
    batch: Interaction = test[index]
    names = input_names(trained.model, trained.preprocessing)
    columns = {name: batch[name].numpy() for name in names if name not in (INPUT_IDS, STATES, TEXT_LENGTH)}
    text = trained.preprocessing.text
    if text is not None and STATES in names:
        columns |= {segment.key: batch[segment.key].numpy() for segment in text.segments}
        columns[NEW_TOKENS] = np.zeros((len(index), 0), dtype=np.int64)
        columns[NEW_LENGTHS] = np.zeros((len(index), len(text.segments)), dtype=np.int64)
    elif text is not None:
        input_ids, lengths = test.token_table(trained.config["plm"])(batch)
        columns |= {INPUT_IDS: input_ids.numpy(), TEXT_LENGTH: lengths.numpy()}
    return columns, batch[test.label_field].numpy()
