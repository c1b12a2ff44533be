"""Export a trained model to ONNX, with all that scoring needs beside it.

The folder holds model.onnx (any number of rows and tokens), the vocabulary, features of users and items and tokens
of their texts as plain json and npz files, and score.py, an example that needs numpy and onnxruntime alone.
`recbole-cp predict` takes the folder in a run's place. Scores are checked against PyTorch's on test rows.
checksums.json holds the SHA-256 of all files but score.py, which is yours to edit; a file that was changed is
refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_clickprompt.errors import SettingError

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the folder and what goes into it."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's .pth file or folder")
    parser.add_argument(
        "--out", "-o", type=Path, required=True, metavar="DIR", help="a folder that is not there yet"
    )
    parser.add_argument("--int8", action="store_true", help="also with 8-bit weights, as model_int8.onnx")
    parser.add_argument(
        "--rows", type=int, default=4096, help="test rows to check with, evenly spaced (default: %(default)s)"
    )


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the folder and prints what it holds and how close its scores are.

    Raises:
        SettingError: An unknown argument, or a package is missing.
        ExportError: The model cannot be exported, or does not give the same scores.
        DataError: The folder is there, or the training's data set cannot be had.
        WeightsError: The run cannot be read.
    """
    # Here and not above: it would make every command's start slower
    from recbole_clickprompt.serving.export import export

    if settings:
        raise SettingError(f"export knows no {settings[0]}")
    if options.rows < 3:
        raise SettingError(f"--rows must be 3 or more, got {options.rows}")
    made = export(options.run, options.out, int8=options.int8, rows=options.rows)
    print(f"{options.out} is ready:")
    for name, size in made.files.items():
        print(f"  {name:<18}{size / 1e6:10.2f} MB")
    if "score.py" not in made.files:
        print("  (no score.py: rows have numbers in sequences or bins, which `recbole-cp predict` reads)")
    print(f"largest difference to PyTorch's scores on {made.rows:,} test rows: {made.difference:.1e}")
    if made.auc is not None and made.auc_int8 is not None:
        print(
            f"AUC of these rows: {made.auc:.6f}, with 8-bit weights {made.auc_int8:.6f} "
            f"({made.auc_int8 - made.auc:+.6f})"
        )
