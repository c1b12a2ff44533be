"""What MLM figures say about prompts, on models whose prompts are known."""

import pytest
import torch

from recbole_clickprompt.methods.clickprompt.builders import build_pamlm
from recbole_clickprompt.methods.clickprompt.mlm_evaluation import evaluate_pamlm


@pytest.fixture
def setting(make_config, make_data):
    config = make_config(plm_dropout=0.0)
    data = make_data(config)
    torch.manual_seed(0)
    return config, build_pamlm(config, data[0]._dataset), data[1]


def test_prompts_that_differ_between_rows_have_a_spread_and_a_swap_is_felt(setting):
    config, model, data = setting
    torch.nn.init.normal_(model.prompt.hidden.weight, std=2.0)
    result = evaluate_pamlm(config, model, data)
    assert 0.1 < result["prompt_spread"] <= 1
    assert len({result["mlm_loss"], result["mlm_loss_swapped_prompts"], result["mlm_loss_without_prompts"]}) == 3


def test_equal_prompts_have_no_spread_and_a_swap_changes_nothing(setting):
    config, model, data = setting
    torch.nn.init.zeros_(model.prompt.weight)
    result = evaluate_pamlm(config, model, data)
    assert result["prompt_spread"] == pytest.approx(0, abs=1e-6)
    assert result["mlm_loss_swapped_prompts"] == pytest.approx(result["mlm_loss"], abs=1e-6)
    assert result["mlm_loss_without_prompts"] != pytest.approx(result["mlm_loss"], abs=1e-6)


def test_dropout_is_off(setting, make_config):
    config, model, data = setting
    with_dropout = build_pamlm(make_config(plm_dropout=0.5), data._dataset)
    with_dropout.load_state_dict(model.state_dict())
    assert evaluate_pamlm(config, with_dropout.train(), data) == evaluate_pamlm(config, model.train(), data)


def test_figures_are_means_over_the_masked_tokens(setting):
    config, model, data = setting
    torch.nn.init.zeros_(model.lm_head.head.predictions.decoder.weight)
    torch.nn.init.zeros_(model.lm_head.head.predictions.decoder.bias)
    vocabulary = model.lm_head.head.predictions.decoder.out_features
    assert evaluate_pamlm(config, model, data)["mlm_loss"] == pytest.approx(torch.tensor(vocabulary).log().item())
