"""Publish a trained model: a folder to share, with a model card.

The folder holds all that scoring needs and no rows of the data: weights (safetensors), settings, vocabularies and
features, the files of the language model if the model needs it, and README.md, a card with data, settings,
metrics, command and limits, which you may edit. predict, serve and export accept it in place of a run, and so does
recbole_clickprompt.from_pretrained, also by an id of the Hugging Face hub.

The ids of users and items are in the folder as they are in the data, and so are the features of known users. Read
the card and the command in it before you share the folder:

    hf upload USER/NAME FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_clickprompt.commands.arguments import reject_settings

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the folder and the license."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's .pth file or folder")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that does not exist yet")
    parser.add_argument("--license", metavar="ID", help="license for the card, such as mit or cc-by-4.0")
    parser.add_argument("--overwrite", action="store_true", help="replace FOLDER if it is a published model")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Writes the folder, and prints its files and how close its scores are to the run's.

    Raises:
        SettingError: An argument is unknown.
        DataError: The folder exists, or the data set of the training run is needed and cannot be read.
        WeightsError: The run or its language model cannot be read, or the scores of the folder differ.
    """
    from recbole_clickprompt.serving.publish import publish

    reject_settings(options, settings)
    published = publish(options.run, options.folder, license=options.license, overwrite=options.overwrite)
    print(f"{options.folder} is ready:")
    for name, size in published.files.items():
        print(f"  {name:<40}{size / 1e6:10.2f} MB")
    print(f"largest difference to the run's scores: {published.difference:.1e}")
    print("it holds ids of users and items as they are in the data; read README.md before you share it")
