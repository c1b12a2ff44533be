"""Runs share a stage where they differ in settings that do not affect it."""

import pytest
from recbole.config import Config

from recbole_clickprompt.trainer.fingerprint import computes_in_bf16, stage_inputs
from tests.conftest import ROOT

REPLACED = {"pretrain_objectives": ["replaced_item"]}


def inputs(make_config, make_data, model, *, reads_text=False, **settings):
    config = make_config(model, **settings)
    return stage_inputs(config, make_data(config)[0]._dataset, reads_text=reads_text)


def test_a_stage_without_text_is_shared_by_runs_with_and_without_plm(make_config, make_data):
    plain = inputs(make_config, make_data, "ClickPromptNoPLM", **REPLACED)
    with_plm = {"enable_amp": True, "micro_batch_size": 256, "plm_interaction_layers": 1, "plm_dropout": 0.0}
    assert inputs(make_config, make_data, "ClickPrompt", **REPLACED, **with_plm) == plain
    bf16 = inputs(make_config, make_data, "ClickPrompt", **REPLACED, enable_amp=True, backbone_amp=True)
    assert bf16 != plain


def test_the_recipes_share_their_pretraining(make_data, small):
    settings = {key: small[key] for key in ("data_path", "gpu_id", "plm")}
    recipes = []
    for model, name in (("ClickPromptNoPLM", "no-plm"), ("ClickPrompt", "with-plm")):
        config = Config(model, "tiny", [str(ROOT / "props" / "best" / f"{name}.yaml")], settings)
        recipes.append(stage_inputs(config, make_data(config)[0]._dataset, reads_text=False))
    assert recipes[0] == recipes[1]


@pytest.mark.parametrize(
    ("amp", "backbone", "reads_text", "expected"),
    [
        (True, False, True, True),
        (True, False, False, False),
        (True, True, False, True),
        (False, True, True, False),
    ],
)
def test_bf16_is_for_what_reads_text_unless_the_backbone_has_it_too(amp, backbone, reads_text, expected):
    settings = {"enable_amp": amp, "backbone_amp": backbone}
    assert computes_in_bf16(settings, reads_text=reads_text) is expected
