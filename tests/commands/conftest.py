"""Finished runs for the commands that look at them."""

from __future__ import annotations

from pathlib import Path

import pytest
from recbole.quick_start import run_recbole

from tests.conftest import SMALL

MODELS = {
    "plain": ("ClickPromptNoPLM", {"train_stage": "finetune"}),
    "without": ("ClickPromptNoPLM", {}),
    "with": ("ClickPrompt", {}),
}


@pytest.fixture(scope="package")
def trained_runs(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> dict[str, Path]:
    """Checkpoints of a plain backbone, of it pretrained, and of both with the PLM, trained for an epoch."""
    folder = tmp_path_factory.mktemp("runs")
    files = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        for name, (model, settings) in MODELS.items():
            own = {**SMALL, "plm": str(tiny_bert), "epochs": 1, "checkpoint_dir": str(folder / name), **settings}
            run_recbole(model=model, dataset="tiny", config_dict=own)
            (files[name],) = (folder / name).glob("*.pth")
    return files
