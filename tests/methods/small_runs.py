"""A small run of each method on the data set ``tiny``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recbole_clickprompt.__main__ import main
from tests.conftest import SMALL
from tests.methods.msd.students import SETTINGS as STUDENT
from tests.methods.msd.students import save_student
from tests.methods.p5.t5 import save_random_t5

__all__ = ["OWN", "SETTINGS", "train_small"]

SETTINGS: dict[str, Any] = {**SMALL, "backbone": "DCNV2", "plm_num_layers": 1, "train_rows": 128, "epochs": 1}
# What a method has in addition; all methods are here
OWN: dict[str, dict[str, Any]] = {
    "ClickPrompt": {"pretrain_rows": 128},
    "ClickPromptNoPLM": {"pretrain_rows": 128},
    "PTab": {"pretrain_rows": 128},
    "MSD": {**STUDENT, "epochs": 1, "student": "random-llama"},
    "CTRBERT": {"tabular": True, "plm_learning_rate": 1e-3},
    "CTRL": {"contrast_width": 16, "pretrain_rows": 128},
    "FLIP": {"contrast_width": 16, "pretrain_rows": 128},
    "P5": {"plm": "random-t5", "plm_num_layers": None},
    "KAR": {"level_experts": 2, "adaptor_size": 8, "user_blocks": 2},
    "QARMLike": {"codebook_size": 4},
    "LLaCTR": {"field_values": 40},
    "SuKDLike": {"pretrain_rows": 128, "plm_num_layers": 2, "student_layers": 1},
    "NumBERTLike": {},
    "BERT4CTRLike": {"pretrain_rows": 128},
    "CharMatchLike": {"char_channels": 4, "max_characters": 32},
    "PRINTRepaired": {"backbone": "DIN", "history_length": 3},
}


def train_small(method: str, folder: Path, plm: Path) -> None:
    """Trains a method by the command line, in a folder of its own.

    Args:
        method: Its name.
        folder: Gets ``saved/``, with one run, and the language models that are made for it.
        plm: The language model of methods that have no other one.
    """
    settings = {**SETTINGS, "plm": str(plm), **OWN[method]}
    if settings["plm"] == "random-t5":
        settings["plm"] = str(save_random_t5(folder / "random-t5"))
    if settings.get("student") == "random-llama":
        settings["student"] = str(save_student(folder / "random-llama"))
    flags = [f"--{key}={json.dumps(value)}" for key, value in settings.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", f"--model={method}", "--dataset=tiny", *flags]) == 0
