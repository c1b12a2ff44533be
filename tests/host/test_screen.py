"""The summary of a run's settings on the screen."""

import re

import pytest

from recbole_clickprompt.host.screen import summary


def unread(config):
    found = re.search(r"^  not read +(.*)$", summary(config), re.MULTILINE)
    return found.group(1).split(", ") if found else []


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"num_prompts": 3, "epochs": 2, "history_length": 5, "history_pooling": "mean"}, []),
        ({"near_items": 3, "num_prompts": 3}, ["near_items"]),
        ({"backbone": "DeepFM", "cross_layer_num": 2, "mlp_hidden_size": [8]}, ["cross_layer_num"]),
        ({"model": "KAR", "tower_loss_weight": 0.5, "level_experts": 1}, ["tower_loss_weight"]),
        # declared by other methods only, and read by code that all share
        ({"model": "PTab", "plm_interaction_layers": 1, "plm_cached_masks": 2}, []),
        ({"model": "NumBERTLike", "plm_lora": {"r": 2}}, []),
        ({"model": "KAR", "plm_num_layers": 1, "init_from_text": ["item_id"]}, []),
        (
            {"backbone": "DNN", "train_stage": "finetune", "head_dropout": 0.1, "dropout_prob": 0.1},
            ["head_dropout"],
        ),
    ],
)
def test_it_names_settings_of_other_models_and_backbones(make_config, settings, names):
    # the fixture gives further settings, which another model or backbone may not read
    assert [name for name in unread(make_config(**settings)) if name in settings] == names


def test_the_seed_0_is_shown(make_config):
    assert re.search(r"^  seed +0$", summary(make_config(seed=0)), re.MULTILINE)
