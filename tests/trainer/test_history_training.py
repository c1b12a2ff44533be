"""Models that read histories: what they learn from them, and what a later row never changes."""

import random

import pytest
import torch
from recbole.quick_start import run_recbole

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.clickprompt.pretraining import pretraining_rows
from recbole_clickprompt.trainer.fingerprint import differences, finetuning_inputs, stage_inputs

TOPICS, ITEMS, USERS = 4, 24, 400


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    """Rows whose label says whether the item shares a hidden topic with one of the user's clicks.

    Each user clicks two items of one topic, and then sees items of this topic and of others in random order. Users
    come one after another, so those of the test rows are new.
    """
    folder = tmp_path_factory.mktemp("data") / "topics"
    folder.mkdir()
    draw = random.Random(0)
    lines, time = ["user_id:token\titem_id:token\tlabel:float\ttimestamp:float"], 0
    for user in range(USERS):
        topic = draw.randrange(TOPICS)
        same = [item for item in range(ITEMS) if item % TOPICS == topic]
        others = [item for item in range(ITEMS) if item % TOPICS != topic]
        shown = draw.sample(same, 5)
        rows = [(item, 1) for item in shown[:2]]
        rows += draw.sample([(item, 1) for item in shown[2:]] + [(item, 0) for item in draw.sample(others, 3)], 6)
        for item, label in rows:
            time += 1
            lines.append(f"u{user}\ti{item}\t{label}\t{time}")
    (folder / "topics.inter").write_text("\n".join([*lines, ""]))
    return folder.parent


def auc(folder, **settings):
    result = run_recbole(
        model="ClickPromptNoPLM",
        dataset="topics",
        config_dict={
            "data_path": str(folder), "gpu_id": "", "show_progress": False, "train_stage": "finetune",
            "load_col": {"inter": ["user_id", "item_id", "label", "timestamp"]}, "LABEL_FIELD": "label",
            "unused_col": {"inter": ["timestamp"]}, "mlp_hidden_size": [32], "embedding_size": 8, "epochs": 12,
            "train_batch_size": 64, "learning_rate": 0.01, "metrics": ["AUC", "LogLoss"], "valid_metric": "AUC",
            "save_predictions": False, "unseen_id_embeddings": "zero", **settings,
        },
    )  # fmt: skip
    return result["test_result"]["auc"]


@pytest.mark.slow
def test_history_solves_what_cannot_be_known_without_it(topics):
    assert auc(topics, backbone="DNN") < 0.6
    assert auc(topics, backbone="DIN", history_length=5) > 0.85
    assert auc(topics, backbone="DNN", history_pooling="attention", history_length=5) > 0.85


def test_rows_at_or_after_its_time_change_neither_a_rows_history_nor_its_score(
    make_config, make_data, topics, tmp_path
):
    folder = tmp_path / "topics"
    folder.mkdir()
    header, *lines = (topics / "topics" / "topics.inter").read_text().splitlines()
    (folder / "topics.inter").write_text("\n".join([header, *lines, ""]))

    def scores(eval_until):
        config = make_config(
            "ClickPromptNoPLM", dataset="topics", backbone="DIN", history_length=3, data_path=str(tmp_path),
            load_col={"inter": ["user_id", "item_id", "label", "timestamp"]}, train_stage="finetune",
            LABEL_FIELD="label", unused_col={"inter": ["timestamp"]},
        )  # fmt: skip
        found = {}
        for loader in make_data(config):
            dataset = loader._dataset
            torch.manual_seed(0)
            backbone = build_backbone(config, dataset).eval()
            rows = dataset[torch.arange(len(dataset))]
            history = zip(rows["item_id_list"].tolist(), backbone.logit(rows).tolist(), strict=True)
            found |= dict(zip(dataset.times.tolist(), history, strict=True))
        return {time: shown for time, shown in found.items() if time < eval_until}

    middle = len(lines) // 2
    before = scores(middle)
    # the same ids in the same order, so that the weights are the same
    later = [line.split("\t") for line in lines[middle:]]
    flipped = ["\t".join([user, item, str(1 - int(label)), time]) for user, item, label, time in later]
    user = lines[middle - 1].split("\t")[0]
    added = [f"{user}\ti1\t1\t{middle}.0", f"{user}\ti2\t1\t{10**6}.0"]
    (folder / "topics.inter").write_text("\n".join([header, *lines[:middle], *flipped, *added, ""]))
    after = scores(middle)
    assert len(before) == middle - 1
    assert after == before


@pytest.fixture
def prepared(make_config, make_data):
    def prepare(**settings):
        config = make_config("ClickPromptNoPLM", history_pooling="mean", history_length=4, **settings)
        return config, make_data(config)

    return prepare


@pytest.mark.parametrize(
    "changed",
    [{"history_length": 3}, {"history": "all"}, {"history_until": "training"}, {"history_order": "file"}],
)
def test_runs_with_other_histories_are_others(make_config, make_data, changed):
    def inputs(**settings):
        config = make_config("ClickPromptNoPLM", **{"history_pooling": "mean", "history_length": 4, **settings})
        train, valid, _ = make_data(config)
        return (
            finetuning_inputs(config, train, valid, None, reads_text=False),
            stage_inputs(config, train._dataset, reads_text=False),
        )

    for ours, theirs in zip(inputs(), inputs(**changed), strict=True):
        assert any(next(iter(changed)) in difference for difference in differences(ours, theirs))
    assert inputs() == inputs()


def test_the_log_is_part_of_what_a_run_is_determined_by(prepared):
    config, (train, valid, _) = prepared()
    ours = finetuning_inputs(config, train, valid, None, reads_text=False)
    train._dataset.history_log.items[0] += 1
    assert differences(ours, finetuning_inputs(config, train, valid, None, reads_text=False)) == ["the history"]


def test_the_control_with_shuffled_items_shuffles_histories_too(prepared):
    config, (train, valid, _) = prepared(pretrain_shuffle_items=True, pretrain_objectives=["replaced_item"])
    before = train._dataset.history_log.items.clone()
    shuffled = pretraining_rows(config, train, valid)
    clicks = shuffled.history_log.items
    assert not torch.equal(clicks, before)
    assert torch.equal(clicks.sort().values, before.sort().values)
    assert torch.equal(train._dataset.history_log.items, before)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "ClickPrompt", "backbone": "DIN", "pretrain_objectives": ["mlm", "replaced_item"]},
        {"model": "ClickPrompt", "history_pooling": "mean", "history": "all", "plm_interaction_layers": 1},
        {"model": "ClickPromptNoPLM", "backbone": "DIN", "init_from_text": ["item_id"],
         "pretrain_objectives": ["replaced_item"], "unseen_id_embeddings": "zero", "lazy_embedding_min_rows": 1},
    ],
)  # fmt: skip
def test_pretraining_and_finetuning_read_histories(small, settings):
    result = run_recbole(dataset="tiny", config_dict={**small, "history_length": 4, "epochs": 1, **settings})
    assert 0 < result["test_result"]["auc"] < 1


def test_too_many_rows_to_draw_are_refused_before_histories_are_made(prepared):
    with pytest.raises(SettingError, match="train_rows is 100000"):
        prepared(train_rows=100000)
