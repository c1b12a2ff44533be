"""Settings that the engine of the embedding tables does not support are errors of one line."""

import pytest

from recbole_clickprompt.embeddings import torchrec_rows
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.check_engine import check_engine
from recbole_clickprompt.methods.registry import find_method

TORCHREC = {
    "embedding_engine": "torchrec",
    "embedding_sharding": "auto",
    "learner": "rowwise_adagrad",
    "weight_decay": 0.0,
    "train_stage": "finetune",
    "pre_model_path": None,
    "warm_start": None,
    "clip_grad_norm": None,
    "lazy_embedding_min_rows": None,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decay": 0.01}, "rowwise_adagrad has no weight decay, got weight_decay: 0.01; set it to 0.0"),
        ({"learner": "adamw"}, "requires learner: rowwise_adagrad, got adamw"),
        ({"train_stage": "all"}, "does not support pretraining; set train_stage to finetune"),
        ({"pre_model_path": "a.safetensors"}, "does not support pretraining"),
        ({"warm_start": "a.pth"}, "does not support warm_start"),
        ({"clip_grad_norm": {"max_norm": 1}}, "does not support clip_grad_norm"),
        ({"lazy_embedding_min_rows": 10}, "lazy_embedding_min_rows has no effect with embedding_engine: torchrec"),
        ({"embedding_engine": "torch", "embedding_sharding": "row_wise"}, "row_wise has no effect"),
    ],
)
def test_settings_that_do_not_go_together(changes, message):
    with pytest.raises(SettingError, match=message):
        check_engine({**TORCHREC, **changes}, find_method("ClickPromptNoPLM"))


def test_methods_that_do_not_shard_their_tables_are_named():
    with pytest.raises(SettingError, match="torchrec is not supported by PTab; leave embedding_engine out"):
        check_engine(TORCHREC, find_method("PTab"))


def test_without_torchrec_the_error_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(torchrec_rows.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match="needs torchrec and fbgemm_gpu, which are not installed"):
        check_engine(TORCHREC, find_method("ClickPromptNoPLM"))
