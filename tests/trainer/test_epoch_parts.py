"""Several validations per epoch."""

import pytest
import torch

from recbole_clickprompt.trainer.epoch_parts import EpochParts
from tests.trainer.test_sampling import rows_of, train

NO_PLM = {"train_stage": "finetune"}


def rows(loader):
    """User and item of every row, batch by batch."""
    return [list(zip(b["user_id"].tolist(), b["item_id"].tolist(), strict=True)) for b in loader]


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_parts_of_an_epoch_are_its_rows_and_every_epoch_has_its_own_order(make_config, make_data, shuffle):
    config = make_config("ClickPromptNoPLM", train_batch_size=100, shuffle=shuffle, **NO_PLM)
    loader = make_data(config)[0]
    parts = EpochParts(config, loader, 3)
    epochs = []
    for number in range(6):
        parts.begin(number)
        batches = rows(parts)
        assert len(batches) == len(parts) == (4, 4, 3)[number % 3]  # 1,053 rows in 11 batches
        assert rows(parts) == batches
        epochs += [[]] * (number % 3 == 0)
        epochs[-1] = epochs[-1] + [row for batch in batches for row in batch]
    whole = list(map(tuple, rows_of(loader._dataset)[["user_id", "item_id"]].to_numpy().tolist()))
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(whole)
    assert (epochs[0] == epochs[1] == whole) is not shuffle
    assert (epochs[0] != epochs[1]) is shuffle


def test_there_are_no_empty_parts(make_config, make_data):
    config = make_config("ClickPromptNoPLM", train_batch_size=600, **NO_PLM)
    assert EpochParts(config, make_data(config)[0], 9).parts == 2


def test_a_run_is_validated_after_each_part_and_the_schedule_is_that_of_the_passes(make_config, make_data):
    settings = {**NO_PLM, "train_batch_size": 128, "epochs": 2, "lr_scheduler": "linear", "stopping_step": 50}
    config = make_config("ClickPromptNoPLM", evals_per_epoch=3, **settings)
    trainer = train(config, make_data(config))
    assert len(trainer.train_loss_dict) == 6
    assert trainer._stage.scheduler.last_epoch == 2 * 9
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.0)
    history = trainer._run_logger.folder / "history.jsonl"
    assert history.read_text().count("valid_auc") == 6


def test_one_evaluation_trains_as_before(make_config, make_data):
    weights = []
    for settings in ({}, {"evals_per_epoch": 1}):
        config = make_config("ClickPromptNoPLM", epochs=1, **NO_PLM, **settings)
        weights.append(train(config, make_data(config)).model.state_dict())
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
