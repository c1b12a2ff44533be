"""PTab is ClickPrompt without prompts and CTR model."""

from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole
from recbole.utils import get_model
from torch import nn

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.clickprompt.builders import build_pamlm
from recbole_clickprompt.methods.ptab.model import build_masked_lm, evaluate_masked_lm
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.optimizer import build_optimizer
from tests.conftest import SHORT


@pytest.fixture
def data(make_config, make_data):
    return make_data(make_config("PTab"))


def test_it_equals_clickprompt_without_prompts_and_backbone_at_the_same_seed(make_config, data):
    settings = {"train_stage": "finetune", "plm_dropout": 0.0}
    off = {"finetune_prompts": False, "fusion_weight": 0.0, "fusion_learnable": False}
    train = data[0]._dataset
    ours = get_model("PTab")(make_config("PTab", **settings), train)
    theirs = get_model("ClickPrompt")(make_config(**settings, **off), train)
    theirs.head = nn.Linear(theirs.plm.hidden_size, 1)
    theirs.head.load_state_dict(ours.head.state_dict())
    theirs.plm.load_state_dict(ours.plm.state_dict())
    for start in range(0, 192, 64):
        batch = train[torch.arange(start, start + 64)]
        losses = []
        for model in (ours, theirs):
            rates = {"learning_rate": 1e-3, "plm_learning_rate": 1e-3}
            if start == 0:
                model.optimizer = build_optimizer(model, learner="adamw", weight_decay=0.0, **rates)
            model.optimizer.zero_grad()
            total = 0.0
            for part, weight in model.split(batch, 32):
                loss = weight * model.calculate_loss(part)
                loss.backward()
                total += loss.item()
            model.optimizer.step()
            losses.append(total)
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for model in (ours, theirs):
        model.eval()
    rows = train[torch.arange(100)]
    with torch.no_grad():
        assert torch.allclose(ours.predict(rows), theirs.predict(rows), atol=1e-5)


def test_its_pretraining_equals_pamlm_whose_prompts_are_hidden(make_config, data):
    train = data[0]._dataset
    ours = build_masked_lm(make_config("PTab"), train).eval()
    theirs = build_pamlm(make_config(), train).eval()
    batch = train[torch.arange(16)]
    torch.manual_seed(1)
    ((rows, _),) = ours.masked_parts(batch, 16)
    hidden = torch.zeros(16, theirs.num_prompts, dtype=torch.bool)
    with torch.no_grad():
        logits, labels = ours.logits(rows)
        others, same = theirs.logits(rows, prompt_mask=hidden)
    assert torch.equal(labels, same)
    assert torch.allclose(logits, others, atol=1e-5)


def test_its_pretraining_is_evaluated_without_dropout_and_masked_from_the_seed(make_config, data):
    train, results = data[0]._dataset, []
    with_dropout, without = (build_masked_lm(make_config("PTab", plm_dropout=rate), train) for rate in (0.5, 0.0))
    without.load_state_dict(with_dropout.state_dict())
    for model in (with_dropout, without, without):
        state = torch.get_rng_state()
        results.append(evaluate_masked_lm(make_config("PTab"), model.train(), data[1]))
        assert torch.equal(torch.get_rng_state(), state)
    assert results[0] == results[1] == results[2]
    assert results[0].keys() == {"mlm_loss", "mlm_accuracy"}


def test_a_whole_run_leaves_predictions_of_the_language_model_and_is_served(small):
    run_recbole(model="PTab", dataset="tiny", config_dict={**small, **SHORT, "epochs": 1})
    (run,) = Path("saved").glob("PTab-*.pth")
    assert len(list(Path("saved").glob("tiny-PTab-pretrained-*.safetensors"))) == 1
    folder = open_run(run)
    table = folder.predictions("test")
    assert list(folder.history()["stage"].unique()) == ["pretrain", "finetune"]
    assert torch.sigmoid(torch.tensor(table["logit_plm"])).numpy() == pytest.approx(table["score"], abs=1e-6)
    rows = table[["user", "item"]].head(20).rename(columns={"user": "user_id", "item": "item_id"})
    rows["device"] = "phone"
    assert load_model(run).predict(rows).shape == (20,)
    names = torch.load(run)["state_dict"].keys()
    assert {name.partition(".")[0] for name in names} == {"plm", "head"}


def test_histories_that_nothing_would_read_are_refused(make_config):
    with pytest.raises(SettingError, match="history_length has no effect"):
        make_config("PTab", history_length=5)
