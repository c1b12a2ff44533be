"""Several processes: the training, the metrics and the files of one."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import recbole.quick_start
import torch
import torch.distributed as dist
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.layers import MLPLayers
from recbole.utils import get_model, get_trainer, init_seed
from sklearn.metrics import log_loss, roc_auc_score

from recbole_clickprompt.host.distributed import _join
from recbole_clickprompt.trainer import resume
from recbole_clickprompt.trainer.data_parallel import all_reduce_gradients, predict
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.conftest import SHORT
from tests.ranks import on_ranks

FINETUNE = {"train_stage": "finetune"}
ODD = {"train_rows": 211, "pretrain_rows": 211}
NO_DROPOUT = {"plm_dropout": 0.0, "dropout_prob": 0.0, "metric_decimal_place": 15}


def build(model_name, settings, *, batch_norm=False):
    config = Config(model_name, "tiny", None, settings)
    init_seed(config["seed"] + config["local_rank"], True)
    data = data_preparation(config, create_dataset(config))
    model = get_model(model_name)(config, data[0]._dataset)
    if batch_norm:  # as RecBole has it in some models, none of which we took over
        backbone = model.backbone.model
        backbone.mlp_layers = MLPLayers(backbone.mlp_layers.layers, bn=True)
    return get_trainer(config["MODEL_TYPE"], model_name)(config, model), data


def train(model_name, settings, batch_norm=False):
    """Both loss curves, validation and test results and final weights, as this rank has them."""
    trainer, data = build(model_name, settings, batch_norm=batch_norm)
    pretraining = []
    report = trainer._reporter(False, "pretrain")
    trainer._reporter = lambda verbose, stage: lambda *row: (pretraining.append([*row[1].values()]), report(*row))
    _, valid = trainer.fit(data[0], data[1], verbose=False)
    return {
        "pretraining": pretraining,
        "finetuning": list(trainer.train_loss_dict.values()),
        "metrics": [*(valid or {}).values(), *trainer.evaluate(data[2]).values()],
        "weights": {name: value.numpy() for name, value in trainer.model.state_dict().items()},
        "file": trainer.saved_model_file,
    }


# 211 rows: batches of 105 leave 1 for the last, and those of 209 leave 2, so that a rank has no row; as does a
# batch of 1051 of all 1053 training rows
RUNS = {
    "both stages with PLM": ("ClickPrompt", 2, SHORT),
    "both stages without PLM, a rank without rows": (
        "ClickPromptNoPLM",
        2,
        {**ODD, "train_batch_size": 105, "pretrain_batch_size": 105, "micro_batch_size": 27},
    ),
    "replaced items beside PA-MLM, three ranks, a rank without rows": (
        "ClickPromptNoPLM",
        3,
        {**ODD, "pretrain_objectives": ["mlm", "replaced_item"], "pretrain_batch_size": 209, "epochs": 1},
    ),
    "batch norm, three ranks, a rank without rows": (
        "ClickPromptNoPLM",
        3,
        # Of two rows batch norm passes hardly any gradient on, and Adam would make steps out of its rounding
        {
            "train_stage": "finetune",
            "backbone": "DNN",
            "train_batch_size": 1051,
            "learner": "sgd",
            "weight_decay": 0.0,
            "learning_rate": 0.1,
        },
    ),
    "DIN, a rank without rows": (
        "ClickPromptNoPLM",
        2,
        {**FINETUNE, **ODD, "backbone": "DIN", "history_length": 3, "train_batch_size": 105},
    ),
    "replaced items, pooled history with labels": (
        "ClickPromptNoPLM",
        2,
        {
            "backbone": "DNN",
            "history": "all",
            "history_length": 3,
            "history_pooling": "attention",
            "pretrain_objectives": ["replaced_item"],
            "epochs": 1,
        },
    ),
    "clipped, PLM frozen": (
        "ClickPrompt",
        2,
        {**FINETUNE, **SHORT, "plm_learning_rate": 0.0, "clip_grad_norm": {"max_norm": 0.01}, "epochs": 1},
    ),
    "tables row by row, clipped, a rank without rows": (
        "ClickPromptNoPLM",
        2,
        {
            **ODD,
            "pretrain_batch_size": 105,
            "micro_batch_size": 27,
            "lazy_embedding_min_rows": 50,
            "weight_decay": 0.1,
            "clip_grad_norm": {"max_norm": 0.1},
        },
    ),
}


@pytest.mark.parametrize("run", RUNS)
def test_several_processes_train_as_one(small, run):
    model, world, settings = RUNS[run]
    settings = {**small, **NO_DROPOUT, "eval_batch_size": 37, **settings}
    batch_norm = "batch norm" in run
    (alone,) = on_ranks(train, model, {**settings, "checkpoint_dir": "alone"}, batch_norm, world=1)
    together = on_ranks(train, model, {**settings, "checkpoint_dir": "together"}, batch_norm, world=world)
    for rank in together:
        for curve in ("pretraining", "finetuning"):
            np.testing.assert_allclose(rank[curve], alone[curve], rtol=0, atol=1e-5)
        assert rank["metrics"] == pytest.approx(alone["metrics"], abs=1e-5)
        assert rank["metrics"] == together[0]["metrics"]
        assert rank["file"] == together[0]["file"]
        for name, weight in rank["weights"].items():
            assert np.array_equal(weight, together[0]["weights"][name])
    assert kinds_of_files("together") == kinds_of_files("alone")


class Ended(Exception):
    """In the place of what ends a process."""


def ended_after(steps, model_name, settings):
    """Keeps the state after every step, and ends all ranks in the same one."""
    clock, step, done = iter(range(1_000_000)), TrainingStage.train_batch, []

    def counting(stage, interaction):
        if len(done) == steps:
            raise Ended
        done.append(step(stage, interaction))
        return done[-1]

    resume.monotonic = lambda: 60.0 * next(clock)
    TrainingStage.train_batch = counting
    with pytest.raises(Ended):
        train(model_name, settings)
    return sorted(path.name for path in Path(settings["checkpoint_dir"]).glob("*.resume"))


@pytest.mark.parametrize("steps", [2, 6])  # 4 steps of pretraining, then 4 of finetuning
def test_several_processes_go_on_where_they_were_ended_bit_for_bit(small, steps):
    settings = {**small, **SHORT, "pretrain_epochs": 1, "epochs": 1}
    unbroken = on_ranks(train, "ClickPrompt", {**settings, "checkpoint_dir": "unbroken"})
    broken = {**settings, "checkpoint_dir": "broken", "checkpoint_minutes": 1}
    left = on_ranks(ended_after, steps, "ClickPrompt", broken)
    assert len(left[0]) == 1
    assert left[0] == left[1]
    resumed = on_ranks(train, "ClickPrompt", {**broken, "resume": "auto"})
    for ours, theirs in zip(resumed, unbroken, strict=True):
        assert ours["finetuning"] == theirs["finetuning"]
        assert ours["metrics"] == theirs["metrics"]
        assert ours["weights"].keys() == theirs["weights"].keys()
        assert all(np.array_equal(weight, theirs["weights"][name]) for name, weight in ours["weights"].items())
    assert not list(Path("broken").glob("*.resume"))


def kinds_of_files(folder):
    """How many files of each kind lie in a folder and in the folder of the run in it."""
    return Counter("".join(path.suffixes) for path in Path(folder).rglob("*"))


def scores_of_odd_rows(model_name, settings):
    trainer, data = build(model_name, settings)
    result = dict(trainer.evaluate(data[2], load_best_model=False))
    rows = data[2]._dataset[torch.arange(len(data[2]._dataset))]
    trainer.model.eval()
    with torch.no_grad():
        together = [predict(trainer.model, rows[torch.arange(n)], torch.device("cpu")) for n in (1, 2, 131)]
        alone = [trainer.model.predict(rows[torch.arange(n)]) for n in (1, 2, 131)]
    batches = [predict(trainer.model, batch[0], torch.device("cpu")) for batch in data[2]]
    return result, together, alone, torch.cat(batches).detach(), rows["label"]


@pytest.mark.parametrize("model", ["ClickPrompt", "ClickPromptNoPLM"])
def test_metrics_are_those_of_all_rows_and_no_row_counts_twice(small, model):
    settings = {**small, **NO_DROPOUT, "eval_batch_size": 37, "micro_batch_size": 5}
    answers = on_ranks(scores_of_odd_rows, model, settings, world=3)
    for result, together, alone, scores, labels in answers:
        for ours, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
        assert scores.shape == (131,)
        assert result["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert result["logloss"] == pytest.approx(log_loss(labels, scores.double()), abs=1e-7)
    assert all(answer[0] == answers[0][0] for answer in answers)


def what_is_exchanged(settings):
    """Numbers sent in an epoch with the PLM frozen; the PLM's weights differ by rank before and after."""
    trainer, data = build("ClickPrompt", settings)
    plm = list(trainer.model.plm.parameters())
    with torch.no_grad():
        for p in plm:
            p += 1e-3 * dist.get_rank()
    before = [p.clone() for p in plm]
    sizes = []
    for name in ("all_reduce", "broadcast"):
        exchange = getattr(dist, name)
        setattr(dist, name, lambda t, *a, exchange=exchange, **k: (sizes.append(t.numel()), exchange(t, *a, **k)))
    trainer.fit(data[0], verbose=False, saved=False)
    assert all(torch.equal(p, b) for p, b in zip(plm, before, strict=True))
    assert all(p.grad is None for p in plm)
    sent = sum(sizes)
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    reached = [p for p in trained if p.grad is not None]
    return sent, sum(p.numel() for p in reached), sum(p.numel() for p in trained), len(trained)


def test_frozen_weights_are_neither_sent_out_nor_summed(small):
    settings = {**small, "train_stage": "finetune", "plm_learning_rate": 0.0, "epochs": 1, "train_batch_size": 600}
    for sent, with_gradient, trained, parameters in on_ranks(what_is_exchanged, settings):
        steps = 2  # each sums the gradients, the loss and which parameters have a gradient
        assert sent == trained + steps * (with_gradient + 1 + parameters)


def summed(present):
    _join(torch.device("cpu"))
    rank = dist.get_rank()
    weights = [torch.nn.Parameter(torch.zeros(3)) for _ in range(3)]
    optimizer = torch.optim.SGD(weights)
    for weight, ranks_with_gradient in zip(weights, present, strict=True):
        if rank in ranks_with_gradient:
            weight.grad = torch.full((3,), rank + 1.0)
    loss = all_reduce_gradients(optimizer, rank + 0.5)
    return loss, [None if w.grad is None else w.grad.tolist() for w in weights]


def test_gradients_are_summed_where_any_rank_has_one_and_stay_away_where_none_has():
    for loss, gradients in on_ranks(summed, [{0, 1}, {1}, set()]):
        assert loss == 0.5 + 1.5
        assert gradients == [[3.0] * 3, [2.0] * 3, None]


def rows_summed(read):
    """Of tables, the rows that the ranks read; each read gives the row a gradient of the rank's number from 1."""
    _join(torch.device("cpu"))
    rank = dist.get_rank()
    tables = [torch.nn.Embedding(5, 2, sparse=True) for _ in read]
    optimizer = torch.optim.AdamW([{"params": [t.weight for t in tables], "rowwise": True}])
    for table, rows in zip(tables, read, strict=True):
        if rows[rank] is not None:
            (table(torch.tensor(rows[rank], dtype=torch.long)).sum() * (rank + 1.0)).backward()
    sizes, gather = [], dist.all_gather
    dist.all_gather = lambda parts, own: (sizes.append(own.numel()), gather(parts, own))
    all_reduce_gradients(optimizer, 0.0)
    return sizes, [None if t.weight.grad is None else t.weight.grad for t in tables]


def test_of_a_row_wise_table_the_rows_that_ranks_read_are_exchanged_and_summed():
    read = [([3, 1, 3], [1, 4]), ([2], None), (None, None), ([], [0, 0])]
    expected = [
        {1: 3.0, 3: 2.0, 4: 2.0},
        {2: 1.0},
        None,
        {0: 4.0},
    ]
    for sizes, gradients in on_ranks(rows_summed, read):
        assert sizes == [3, 2, 4, 1, 2, 1, 2]  # how many rows of each table, then which ones and their gradients
        for gradient, sums in zip(gradients, expected, strict=True):
            if sums is None:
                assert gradient is None
            else:
                assert gradient.is_coalesced()
                assert gradient.indices().tolist() == [list(sums)]
                assert gradient.values().tolist() == [[value] * 2 for value in sums.values()]


def dropout_of_two_steps(settings):
    trainer, data = build("ClickPromptNoPLM", settings)
    drawn = []
    calculate_loss = trainer.model.calculate_loss
    trainer.model.calculate_loss = lambda part: (drawn.append(torch.rand(()).item()), calculate_loss(part))[1]
    before = torch.get_rng_state()
    trainer.fit(data[0], verbose=False, saved=False)
    return drawn, torch.equal(before, torch.get_rng_state())


def test_each_rank_draws_its_own_dropout_and_all_keep_the_same_random_state(small):
    settings = {**small, "train_stage": "finetune", "epochs": 1, "train_batch_size": 600}
    (first, kept), (second, also_kept) = on_ranks(dropout_of_two_steps, settings)
    assert kept
    assert also_kept
    assert len(set(first + second)) == 4


class Answers(list):
    """A queue for one test."""

    put = list.append


def through_recbole(settings):
    """What RecBole's ``run(..., nproc=2)`` has each of its processes do."""
    rank = int(os.environ["RANK"])
    place = {"world_size": 2, "nproc": 2, "offset": 0, "ip": "localhost", "port": os.environ["MASTER_PORT"]}
    answers = Answers()
    options = {"config_dict": {**settings, **place}, "queue": answers}
    recbole.quick_start.run_recboles(rank, "ClickPromptNoPLM", "tiny", None, options)
    return answers


def test_recboles_own_run_trains_in_several_processes_and_answers_once(small):
    first, second = on_ranks(through_recbole, {**small, **FINETUNE, "epochs": 1})
    assert 0 < first[0]["test_result"]["auc"] < 1
    assert len(first) == 1
    assert second == []


def seen_by_each(settings):
    trainer, data = build("ClickPrompt", settings)
    trainer.fit(data[0], data[1], verbose=False)
    return dict(trainer.evaluate(data[1]))


def test_a_pretraining_alone_gives_the_figures_of_one_process(small):
    settings = {**small, **NO_DROPOUT, "train_stage": "pretrain", "eval_batch_size": 50}
    settings |= {"plm_interaction_layers": 1, "pretrain_plm_learning_rate": 0.0, "num_prompts": 1}
    (alone,) = on_ranks(seen_by_each, {**settings, "checkpoint_dir": "alone"}, world=1)
    together = on_ranks(seen_by_each, {**settings, "checkpoint_dir": "together"})
    assert together[0] == together[1]
    assert together[0] == pytest.approx(alone, abs=1e-4)
