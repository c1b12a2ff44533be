"""The pretraining stage of ClickPrompt, run without finetuning."""

from recbole_clickprompt.methods.clickprompt.pretraining import Pretraining
from recbole_clickprompt.trainer.stages import load_stage_model, run_stage


def pretrain(config, train_data, valid_data=None, *, show_progress=False, report=lambda *_: None):
    """The checkpoint of a config's pretraining."""
    return run_stage(
        Pretraining(), config, train_data, valid_data,
        allowed=("pretrain", "finetune"), show_progress=show_progress, report=report,
    )  # fmt: skip


def load_pretrained(config, dataset, path):
    """The pretraining model out of its checkpoint."""
    return load_stage_model(Pretraining(), config, dataset, path)
