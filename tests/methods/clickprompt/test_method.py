"""What the methods tell the rest of the package."""

import pytest

from recbole_clickprompt.methods.registry import find_method


@pytest.mark.parametrize(
    ("model", "changes", "title"),
    [
        ("ClickPromptNoPLM", {"train_stage": "finetune"}, "DNN"),
        ("ClickPromptNoPLM", {"train_stage": "finetune", "pre_model_path": "x"}, "ClickPrompt without PLM (DNN)"),
        ("ClickPromptNoPLM", {"train_stage": "all"}, "ClickPrompt without PLM (DNN)"),
        ("ClickPrompt", {"train_stage": "all"}, "ClickPrompt with PLM (DNN)"),
        ("PTab", {"train_stage": "all"}, "PTab"),
        ("CTRBERT", {"tabular": False}, "CTRBERT"),
        ("CTRBERT", {"tabular": True}, "CTRBERT with DNN"),
        ("CTRL", {"train_stage": "all"}, "CTRL (DNN)"),
        ("SuKDLike", {}, "SuKDLike (DNN)"),
        ("NumBERTLike", {}, "NumBERTLike"),
        ("BERT4CTRLike", {}, "BERT4CTRLike (DNN)"),
        ("CharMatchLike", {}, "CharMatchLike"),
        ("PRINTRepaired", {}, "PRINTRepaired (DNN)"),
        ("P5", {}, "P5"),
        ("FLIP", {"finetune_towers": "both"}, "FLIP (DNN and PLM)"),
        ("FLIP", {"finetune_towers": "ids"}, "FLIP (DNN alone)"),
        ("FLIP", {"finetune_towers": "text"}, "FLIP (PLM alone, aligned with DNN)"),
    ],
)
def test_a_title_says_plain_backbone_with_or_without_plm(model, changes, title):
    settings = {"backbone": "DNN", "pre_model_path": None, "history_pooling": "none"}
    assert find_method(model).title(settings | changes) == title
