"""A method with the stage ``distill`` and the simplest model for clicks; and a small student."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed
from torch import nn

from recbole_clickprompt import register_method
from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.methods.msd.distillation import DISTILLATION_CURVES, Distillation
from recbole_clickprompt.methods.msd.distillation_settings import DISTILLATION
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components
from tests.plm.generative_models import save_model

ROOT = Path(__file__).parents[3]
# The settings are declared by the method of the package; this one declares none, because the registry is global
SETTINGS = {
    **{name: setting.default for name, setting in DISTILLATION.items()},
    "data_path": str(ROOT / "dataset_atomic"), "gpu_id": "", "show_progress": False, "knowledge": ["tiny-items"],
    "student_num_layers": None,
    "max_text_length": 60, "distill_answer_length": 100, "distill_batch_size": 8, "distill_epochs": 2,
    "distill_learning_rate": 1e-3, "distill_evaluated": 0, "micro_batch_size": 64, "epochs": 1,
    "train_batch_size": 256,
}  # fmt: skip


class ItemBias(LabeledRowsModel):
    """A bias per item, and the student's weights."""

    def __init__(self, config, dataset):
        super().__init__(config)
        self.item = config["ITEM_ID_FIELD"]
        self.bias = nn.Embedding(dataset.num(self.item), 1)

    def forward(self, batch):
        return self.bias(batch[self.item]).squeeze(1)


class DistilledMethod(Method):
    name = "Distilled"
    stages = (Distillation(),)
    curves = DISTILLATION_CURVES
    start: Path | None = None

    def model_class(self):
        return type("Distilled", (ItemBias,), {})

    def begin_finetuning(self, config, model, *, start, **_):
        self.start = start


register_method(METHOD := DistilledMethod())


@functools.cache
def student_folder(family="llama", layers=2):
    """A small random student that all tests of this process share."""
    # Texts and answers of few tokens
    words = (ROOT / "props/knowledge/tiny-items.jsonl").read_text().replace('"', " ")
    words += " title is. year is. genre is. Item: Profile: Reasoning:\nExplicit: ;\nImplicit:"
    folder = Path(tempfile.mkdtemp()) / family
    return str(save_model(folder, family, layers=layers, text=" ".join(sorted(set(words.split(" "))))))


def prepared(**settings):
    """Config, and the loaders of training, validation and test rows of ``tiny``."""
    config = Config("Distilled", "tiny", None, {**SETTINGS, "student": student_folder(), **settings})
    init_seed(config["seed"], config["reproducibility"])
    return config, data_preparation(config, create_dataset(config))


__all__ = ["METHOD", "ROOT", "SETTINGS", "load_components", "prepared", "student_folder"]
