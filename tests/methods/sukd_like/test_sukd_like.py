"""SuKDLike: two towers, of which the served one of text has learned from a larger one."""

import os
import signal
from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole
from recbole.utils import get_model
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.labeled_stage import evaluate_labeled
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.methods.sukd_like.model import build_teacher
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.pretrained_checkpoint import save_pretrained
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.conftest import SHORT
from tests.trainer.whole_run import in_child

OWN = {"backbone": "DCNV2", "student_layers": 1}
NO_DROPOUT = {"plm_dropout": 0.0, "dropout_prob": 0.0}


@pytest.fixture
def data(make_config, make_data):
    return make_data(make_config("SuKDLike", **OWN))


@pytest.fixture
def build(make_config, data):
    def build(**settings):
        torch.manual_seed(1)
        return get_model("SuKDLike")(make_config("SuKDLike", **{**OWN, **settings}), data[0]._dataset)

    return build


@pytest.fixture
def teacher(make_config, data, tmp_path):
    """A teacher with random changes, and its checkpoint."""
    torch.manual_seed(2)
    model = build_teacher(make_config("SuKDLike", **OWN, **NO_DROPOUT), data[0]._dataset)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    save_pretrained(model, tmp_path / "teacher.safetensors", inputs={"settings": {}}, epoch=1)
    return model, tmp_path / "teacher.safetensors"


def test_without_distillation_it_is_the_two_tower_model(make_config, data, build):
    ours, rows = build(distill_weight=0.0, train_stage="finetune").eval(), data[0]._dataset[torch.arange(64)]
    towers = {"finetune_prompts": False, "fusion_weight": 0.5, "plm_num_layers": 1, "backbone": "DCNV2"}
    theirs = get_model("ClickPrompt")(make_config(**towers), data[0]._dataset).eval()
    theirs.backbone.load_state_dict(ours.backbone.state_dict())
    theirs.plm.load_state_dict(ours.plm.state_dict())
    theirs.head = ours.tower.head
    expected = F.binary_cross_entropy_with_logits(2 * theirs(rows), rows["label"])  # theirs halves both logits
    assert ours.calculate_loss(rows).item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_loss_adds_the_difference_to_the_teacher_which_gets_no_gradient(build, data, teacher):
    (large, file), rows = teacher, data[0]._dataset[torch.arange(64)]
    model = build(**NO_DROPOUT, distill_weight=0.5).train()
    model.read_stage(file)
    loss = model.calculate_loss(rows)
    ctr, student = model.logits(rows)
    with torch.no_grad():
        target = large.eval().tower(*large.text(rows))
    expected = F.binary_cross_entropy_with_logits(ctr + student, rows["label"]) + 0.5 * F.mse_loss(student, target)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    loss.backward()
    assert all(weight.grad is None for weight in model._teacher[0].parameters())
    assert model.tower.head.weight.grad is not None
    assert model.state_dict().keys() == build(**NO_DROPOUT).state_dict().keys()


def test_parts_of_a_batch_have_its_loss(build, data, teacher):
    model, rows = build(**NO_DROPOUT).train(), data[0]._dataset[torch.arange(64)]
    model.read_stage(teacher[1])
    whole = model.calculate_loss(rows).item()
    parts = model.split(rows, 10)
    assert len(parts) == 7
    assert sum(weight * model.calculate_loss(part).item() for part, weight in parts) == pytest.approx(
        whole, abs=1e-5
    )


def test_the_student_starts_from_the_lower_layers_of_the_teacher(build, teacher):
    (large, file), model = teacher, build()
    model.begin(file)
    assert (model.plm.num_layers, large.plm.num_layers) == (1, 3)
    theirs = large.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in model.state_dict().items())


def test_the_teacher_is_evaluated_without_dropout(make_config, data):
    config = make_config("SuKDLike", **OWN, plm_dropout=0.5)
    model = build_teacher(config, data[0]._dataset)
    first, again = (evaluate_labeled(config, model.train(), data[1]) for _ in range(2))
    assert first == again
    assert first.keys() == {"teacher_loss", "teacher_accuracy"}
    rows = data[1]._dataset[torch.arange(len(data[1]._dataset))]
    with torch.no_grad():
        expected = F.binary_cross_entropy_with_logits(model(rows), rows["label"])
    assert first["teacher_loss"] == pytest.approx(expected.item(), abs=1e-5)


def test_the_teacher_never_learns_from_validation_rows(make_config, make_data):
    config = make_config("SuKDLike", pretrain_data="train_valid", pretrain_shuffle_items=True)
    train, valid, _ = make_data(config)
    (stage,) = find_method("SuKDLike").stages
    rows = stage.training_rows(config, train, valid)
    assert torch.equal(rows.inter_feat["item_id"], train._dataset.inter_feat["item_id"])


def test_a_whole_run_serves_the_small_towers_alone(small):
    run_recbole(model="SuKDLike", dataset="tiny", config_dict={**small, **SHORT, **OWN, "epochs": 1})
    (run,) = Path("saved").glob("SuKDLike-*.pth")
    assert len(list(Path("saved").glob("tiny-DCNV2-teacher-*.safetensors"))) == 1
    folder = open_run(run)
    assert list(folder.history()["stage"].unique()) == ["teacher", "finetune"]
    table = folder.predictions("test")
    logit = torch.tensor((table["logit_ctr"] + table["logit_plm"]).to_numpy())
    assert torch.sigmoid(logit).numpy() == pytest.approx(table["score"].to_numpy(), abs=1e-6)
    weights = torch.load(run)["state_dict"]
    assert {name.partition(".")[0] for name in weights} == {"backbone", "tower"}
    assert not [name for name in weights if "layer.1." in name]
    rows = table[["user", "item"]].head(20).rename(columns={"user": "user_id", "item": "item_id"})
    scores = load_model(run).predict(rows.assign(device="phone"))
    assert ((scores > 0) & (scores < 1)).all()


def test_a_run_killed_in_finetuning_gets_its_teacher_back(small, monkeypatch):
    settings = {**small, **OWN, "train_rows": 128, "pretrain_rows": 64, "epochs": 1}
    run_recbole(model="SuKDLike", dataset="tiny", config_dict=settings)
    (whole,) = Path("saved").glob("SuKDLike-*.pth")
    killed = {**settings, "checkpoint_dir": "killed", "checkpoint_minutes": 1e-9}
    train_batch = TrainingStage.train_batch

    def deadly(self, batch):
        if self.name == "finetune" and self.scheduler.last_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_batch(self, batch)

    def run(**more):
        run_recbole(model="SuKDLike", dataset="tiny", config_dict={**killed, **more})

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStage, "train_batch", deadly)
        assert in_child(run, Path("answer")) == -signal.SIGKILL
    assert in_child(lambda: run(resume="auto"), Path("answer")) == 0
    (resumed,) = Path("killed").glob("SuKDLike-*.pth")
    weights, again = (torch.load(path)["state_dict"] for path in (whole, resumed))
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"pretrain_epochs": 0},
            "distill_weight is 1.0, but without the stage teacher there is no teacher to learn from",
        ),
        ({"train_stage": "finetune"}, "distill_weight is 1.0, but without the stage teacher there is no teacher"),
        ({"plm_num_layers": 1}, "student_layers is 1, but the teacher has 1 .* use a PLM with two layers"),
        ({"plm_num_layers": 3, "student_layers": 3}, "student_layers is 3, but the teacher has 3 .* 2 or less"),
        ({"history_length": 5}, "history_length is 5, but DCNV2 does not read histories by itself"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config("SuKDLike", **{**OWN, **settings})


def test_the_layers_of_the_plm_itself_limit_the_students(build):
    with pytest.raises(SettingError, match="student_layers is 3, but the teacher has 3"):
        build(student_layers=3)
