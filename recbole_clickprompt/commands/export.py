"""Export a trained model to ONNX, with everything that scoring needs.

The folder holds model.onnx (any number of rows and tokens), the vocabulary, features of users and items and tokens
of their texts as plain json and npz files, and score.py, a script that needs only numpy, onnxruntime and, for
texts that training never saw, tokenizers.
`recbole-cp predict` accepts the folder instead of a run. Scores are compared with PyTorch's on evenly spaced test
rows; for a published model, which has none, on rows made of its vocabulary, without labels and so without AUC.
checksums.json holds the SHA-256 of all files except score.py, which you may edit; a changed file is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_clickprompt.commands.arguments import check_minimum, reject_settings

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the folder and what goes into it."""
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="a run's .pth file or folder, or a published model's folder"
    )
    parser.add_argument(
        "--out", "-o", type=Path, required=True, metavar="DIR", help="a folder that does not exist yet"
    )
    parser.add_argument("--int8", action="store_true", help="also export 8-bit weights, as model_int8.onnx")
    parser.add_argument(
        "--rows", type=int, default=4096, help="number of test rows to check (default: %(default)s)"
    )


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the folder, and prints its files and how close its scores are to PyTorch's.

    Raises:
        SettingError: An argument is invalid, or a package is missing.
        ExportError: The model cannot be exported, or its scores differ.
        DataError: The folder exists, or the data set of the training run cannot be read.
        WeightsError: The run cannot be read.
    """
    from recbole_clickprompt.serving.export import export

    reject_settings(options, settings)
    check_minimum(options, 3, "rows")
    exported = export(options.run, options.out, int8=options.int8, rows=options.rows)
    print(f"{options.out} is ready:")
    for name, size in exported.files.items():
        print(f"  {name:<18}{size / 1e6:10.2f} MB")
    if exported.text_levels:
        levels = " and ".join(f"{level}s" for level in exported.text_levels)
        print(
            f"texts of {levels} that training never saw are not encoded by an export; such rows are scored "
            "without their text, and counted"
        )
    print(
        f"largest difference to PyTorch's scores on {exported.rows:,} {exported.kind}: {exported.difference:.1e}"
    )
    if exported.auc is not None and exported.auc_int8 is not None:
        print(
            f"AUC of these rows: {exported.auc:.6f}, with 8-bit weights {exported.auc_int8:.6f} "
            f"({exported.auc_int8 - exported.auc:+.6f})"
        )
