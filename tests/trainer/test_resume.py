"""Going on with a training: as if it had never ended, or not at all."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest
import torch
from recbole.utils import get_model, get_trainer

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError, TrainingError, WeightsError
from recbole_clickprompt.files import partial_path
from recbole_clickprompt.trainer import resume_file
from recbole_clickprompt.trainer.checkpoint import read_checkpoint
from recbole_clickprompt.trainer.stage import TrainingStage
from recbole_clickprompt.trainer.trainer import StagedTrainer
from tests.trainer.whole_run import RUN, differing, in_child, whole_run


def at(number, owner, name, what):
    """Does something in place of the nth call of a method."""
    original, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            what()
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def terminate():
    signal.raise_signal(signal.SIGTERM)


def states():
    return sorted(path.name for path in Path("saved").glob("*.resume*"))


NO_PLM = {"model": "ClickPromptNoPLM", "train_stage": "finetune"}


@pytest.mark.parametrize(
    ("settings", "moment"),
    [
        pytest.param({"plm_interaction_layers": 1}, (3, TrainingStage, "train_batch"), id="interaction layers"),
        pytest.param(
            {"pretrain_objectives": ["mlm", "replaced_item"], "pretrain_epochs": 2},
            (10, TrainingStage, "train_batch"),
            marks=pytest.mark.slow,
            id="two objectives",
        ),
        pytest.param(
            {**NO_PLM, "backbone": "WuKong", "eval_step": 2},
            (6, TrainingStage, "train_batch"),
            marks=pytest.mark.slow,
            id="no validation",
        ),
        pytest.param(
            {**NO_PLM, "backbone": "DIN", "history_length": 3}, (6, TrainingStage, "train_batch"), id="history"
        ),
        pytest.param(
            {**NO_PLM, "valid_metric": "LogLoss", "learner": "sgd", "weight_decay": 0.0},
            (2, StagedTrainer, "_valid_epoch"),
            id="in a validation",
        ),
        pytest.param(
            {**NO_PLM, "backbone": "KD_DAGFM", "learner": "adagrad", "weight_decay": 0.0, "worker": 1},
            (6, TrainingStage, "train_batch"),
            marks=pytest.mark.slow,
            id="workers",
        ),
        pytest.param(
            {"train_stage": "finetune", "enable_amp": True, "plm_lora": {"r": 2}},
            (8, TrainingStage, "train_batch"),
            marks=pytest.mark.slow,
            id="bf16 and LoRA",
        ),
        pytest.param(
            {**NO_PLM, "lazy_embedding_min_rows": 50, "weight_decay": 0.1, "clip_grad_norm": {"max_norm": 0.1}},
            (6, TrainingStage, "train_batch"),
            id="row-wise and clipped",
        ),
    ],
)
def test_after_sigterm_a_run_goes_on_as_if_nothing_had_been(make_config, make_data, settings, moment, capfd):
    settings = {**RUN, "train_rows": 500, "pretrain_rows": 500, **settings}  # 4 batches in each epoch
    data = make_data(make_config(**settings))

    def stopped():
        at(*moment, terminate)
        return whole_run(make_config(**settings), data)

    assert in_child(lambda: whole_run(make_config(checkpoint_dir="one", **settings), data), Path("whole")) == 0
    assert in_child(stopped, Path("half")) == 143
    (file,) = states()
    assert (
        f"SIGTERM: the training state is saved in saved/{file}; resume with --resume=auto"
        in capfd.readouterr().err
    )
    assert in_child(lambda: whole_run(make_config(**settings, resume="auto"), data), Path("half")) == 0
    assert differing(torch.load("half"), torch.load("whole")) == []
    assert states() == []


@pytest.fixture(scope="module")
def ended_run(tmp_path_factory, make_config, make_data):
    """The folder of a finetuning that was ended in its third epoch, and its settings."""
    settings = {**RUN, **NO_PLM}

    def work():
        at(25, TrainingStage, "train_batch", terminate)
        whole_run(make_config(**settings), make_data(make_config(**settings)))

    folder = tmp_path_factory.mktemp("ended")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert in_child(work, folder / "answer") == 143
    return folder, settings


@pytest.fixture
def stopped(ended_run, make_config, make_data):
    """Settings, data and state of a copy of the ended run."""
    folder, settings = ended_run
    shutil.copytree(folder / "saved", "saved")
    (file,) = Path("saved").glob("*.resume")
    return settings, make_data(make_config(**settings)), file


def go_on(make_config, settings, data, **more):
    config = make_config(**{**settings, **more})
    model = get_model(config["model"])(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return trainer, trainer.fit(data[0], data[1], verbose=False)


def test_a_state_holds_tensors_and_plain_values(stopped):
    state = read_checkpoint(stopped[2], kind="a state")
    assert state["progress"]["epoch"] == 2
    assert 0 < state["progress"]["batches"] < 10
    kinds = set()

    def walk(value):
        kinds.add(type(value))
        for part in (
            value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        ):
            walk(part)

    walk({**state, "model": dict(state["model"])})
    assert kinds <= {dict, list, tuple, torch.Tensor, str, int, float, bool, type(None)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"learning_rate": 0.5},
            r"belongs to another run: learning_rate \(saved 0.01, now 0.5\) differ; use",
        ),
        ({"epochs": 9, "seed": 1}, r"epochs \(saved 3, now 9\), seed \(saved 2020, now 1\) differ"),
        ({"train_stage": "pretrain"}, "belongs to the stage finetune, which this run does not include"),
    ],
)
def test_a_state_of_other_settings_is_refused_by_name(stopped, make_config, settings, message):
    with pytest.raises(SettingError, match=f"resume: {stopped[2]}.*{message}"):
        go_on(make_config, *stopped[:2], resume=str(stopped[2]), **settings)


def test_a_state_of_other_rows_is_refused_by_name(stopped, make_config):
    settings, data, file = stopped
    data[0]._dataset.inter_feat["item_id"][3] = 1 + data[0]._dataset.inter_feat["item_id"][3] % 50
    with pytest.raises(SettingError, match="belongs to another run: the rows differ"):
        go_on(make_config, settings, data, resume=str(file))


def test_a_state_of_more_processes_is_refused(stopped, make_config):
    settings, data, file = stopped
    state = torch.load(file)
    torch.save({**state, "random": state["random"] * 2}, file)
    with pytest.raises(SettingError, match=f"{file.name} was saved by 2 processes and this run has 1; start 2"):
        go_on(make_config, settings, data, resume="auto")


def test_auto_begins_anew_where_no_equal_run_was_ended_and_says_so(stopped, make_config, caplog):
    settings, data, file = stopped
    before = file.read_bytes()
    trainer, _ = go_on(make_config, settings, data, resume="auto", learning_rate=0.02)
    assert sorted(trainer.train_loss_dict) == [0, 1, 2]
    assert trainer.start_epoch == 0
    assert file.read_bytes() == before
    (line,) = [line for line in caplog.messages if line.startswith("resume: ")]
    assert line == (
        f"resume: no state with these settings, so the stage starts from the beginning; {file} is not used: "
        "learning_rate (saved 0.01, now 0.02) differ"
    )
    file.write_bytes(before[: len(before) // 2])
    caplog.clear()
    go_on(make_config, settings, data, resume="auto", learning_rate=0.02)
    assert [
        f"{file} is not used: {file} is damaged" in line for line in caplog.messages if "resume: " in line
    ] == [True]


def test_without_resume_a_run_begins_anew(stopped, make_config):
    assert go_on(make_config, *stopped[:2])[0].start_epoch == 0


def test_the_best_model_of_a_killed_run_is_removed_by_the_run_that_replaces_it(stopped, make_config, caplog):
    settings, data, _ = stopped
    (old,) = Path("saved").glob("*.pth")
    for name in ("mine.pth", "mine.txt"):
        shutil.copy(old, old.with_name(name))
    leftover = partial_in_dead_process(Path("saved/mine.pth"))
    trainer, _ = go_on(make_config, settings, data)
    assert old.exists()  # until the new run is finished, the state can be resumed
    trainer.evaluate(data[2])
    assert {path.suffix or path.name for path in Path("saved").iterdir()} == {
        ".pth", ".txt", Path(trainer.saved_model_file).stem,
    }  # fmt: skip
    assert {path.name for path in Path("saved").glob("*.pth")} == {"mine.pth", Path(trainer.saved_model_file).name}
    assert [line for line in caplog.messages if line.startswith("removed ")] == [
        f"removed unfinished files of killed processes: {leftover}",
        f"removed {old}, the best model of a killed run that this run replaces",
    ]


def partial_in_dead_process(path):
    process = multiprocessing.get_context("fork").Process(target=lambda: partial_path(path).touch())
    process.start()
    process.join()
    return next(path.parent.glob("*.partial"))


def test_a_state_given_by_its_path_may_have_been_moved_with_the_best_model(stopped, make_config):
    settings, data, file = stopped
    Path("saved").rename("moved")
    trainer, _ = go_on(make_config, settings, data, resume=f"moved/{file.name}")
    assert trainer.start_epoch == 2
    assert Path(trainer.saved_model_file).parent == Path("moved")
    trainer.evaluate(data[2])
    assert not Path("moved", file.name).exists()


def test_without_its_best_model_a_state_is_refused(stopped, make_config):
    for path in Path("saved").glob("*.pth"):
        path.unlink()
    with pytest.raises(WeightsError, match=r"continues from saved/DCNV2-\S*.pth, its best epoch so far"):
        go_on(make_config, *stopped[:2], resume="auto")


def changed_in(file, *path, value):
    state = torch.load(file)
    owner = state
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    return state


@pytest.mark.parametrize("resume", ["auto", "PATH"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda file: file.write_bytes(file.read_bytes()[:-100]),
            "is damaged or foreign, expected the state of",
        ),
        (
            lambda file: file.write_bytes(file.read_bytes().replace(b"finetune", b"finetunE")),
            "is damaged, expected",
        ),
        (lambda file: torch.save({"a": 1}, file), r"is not the state of an unfinished training .*\(clickprompt-r"),
        (lambda file: torch.save({"format": "clickprompt-resume-2"}, file), r"is not the state of an unfinished "),
        (  # as an earlier version wrote it
            lambda file: torch.save(torch.load(file) | {"format": "clickprompt-resume-1"}, file),
            r"is not .*\(clickprompt-resume-2\), but clickprompt-resume-1; leave out --resume to start over",
        ),
        (
            lambda file: torch.save(torch.load(file) | {"inputs": "x"}, file),
            "is damaged: the inputs of its run cannot be read",
        ),
        (lambda file: torch.save(torch.load(file) | {"model": {}}, file), "is damaged, or the state of another"),
        (lambda file: torch.save(torch.load(file) | {"optimizer": None}, file), "is damaged, or the state of an"),
        (lambda file: torch.save(torch.load(file) | {"progress": []}, file), "is damaged, or the state of anoth"),
        (lambda file: torch.save(torch.load(file) | {"stage": ["finetune"]}, file), "is damaged: its stage is"),
        (lambda file: torch.save(torch.load(file) | {"random": 1}, file), "is damaged: its random states are no"),
        (lambda file: torch.save(torch.load(file) | {"random": ["x"]}, file), ".* its random is not a list of ra"),
        (lambda file: torch.save(torch.load(file) | {"order": []}, file), ".* of different numbers of processes"),
        (lambda file: torch.save(torch.load(file) | {"own": {}}, file), ".* its own is not what the stage reme"),
        (
            lambda file: torch.save(changed_in(file, "random", 0, "python", value=(3, torch.zeros(4), 0)), file),
            ".* its random states cannot be restored",
        ),
        (
            lambda file: torch.save(changed_in(file, "progress", "batches", value=10**6), file),
            "is damaged: its epoch has more batches than the training rows",
        ),
    ],
)
def test_a_damaged_or_foreign_state_is_refused_by_name(stopped, make_config, spoil, message, resume):
    settings, data, file = stopped
    spoil(file)
    with pytest.raises(WeightsError, match=f"{file.name} {message}"):
        go_on(make_config, settings, data, resume=str(file) if resume == "PATH" else resume)


def test_a_state_that_is_not_there_is_told(stopped, make_config):
    with pytest.raises(WeightsError, match="none: no such file; expected the state of an unfinish"):
        go_on(make_config, *stopped[:2], resume="none")


def test_a_finished_run_leaves_no_state(make_config, make_data):
    config = make_config(**{**RUN, **NO_PLM, "checkpoint_minutes": 1e-9})
    data = make_data(config)
    trainer, _ = go_on(make_config, {**RUN, **NO_PLM, "checkpoint_minutes": 1e-9}, data)
    assert len(states()) == 1  # kept until the test is done
    trainer.evaluate(data[2])
    assert states() == []


def test_a_loss_that_is_no_number_leaves_the_last_state(stopped, make_config, monkeypatch):
    settings, data, file = stopped
    before = file.read_bytes()
    monkeypatch.setattr(get_model("ClickPromptNoPLM"), "forward", lambda self, rows: self.backbone.logit(rows) / 0)
    with pytest.raises(TrainingError, match="finetune: the training loss is nan; lower the learning rate"):
        go_on(make_config, settings, data, resume="auto", checkpoint_minutes=1e-9)
    assert file.read_bytes() == before
    assert states() == [file.name]


def test_weights_that_are_no_numbers_are_never_kept(stopped, make_config, monkeypatch):
    settings, data, file = stopped
    before = file.read_bytes()
    step = torch.optim.AdamW.step

    def explode(self, *args):
        step(self, *args)
        self.param_groups[0]["params"][0].data[0] = float("inf")

    monkeypatch.setattr(torch.optim.AdamW, "step", explode)
    with pytest.raises(TrainingError, match="finetune: weights are no longer finite; lower the learning rate"):
        go_on(make_config, settings, data, resume="auto", checkpoint_minutes=1e-9)
    assert file.read_bytes() == before


def interrupt():
    raise KeyboardInterrupt


def disk_full():
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize(
    ("moment", "what", "code", "message"),
    [
        (
            (15, TrainingStage, "train_batch"),
            interrupt,
            130,
            "interrupted; a run whose state was saved resumes with",
        ),
        ((6, os, "replace"), interrupt, 130, "interrupted; a run"),
        ((6, os, "fsync"), disk_full, 2, "cannot be written: No space left on device"),
        ((15, TrainingStage, "train_batch"), terminate, 143, ""),
    ],
    ids=["Ctrl-C in a step", "Ctrl-C in a write", "disk full", "SIGTERM"],
)
def test_a_run_that_cannot_go_on_says_so_in_one_line(small, capfd, moment, what, code, message):
    arguments = [f"--{k}={json.dumps(v)}" for k, v in {**small, **RUN, "checkpoint_minutes": 1e-9}.items()]
    arguments += ["--dataset=tiny", "--model=ClickPromptNoPLM", "--train_stage=finetune"]

    def work():
        at(*moment, what)
        sys.exit(main(["run", *arguments]))

    assert in_child(work, Path("answer")) == code
    out = capfd.readouterr().err.splitlines()
    errors = [line for line in out if line.startswith(("error: ", "SIGTERM: "))]
    assert len(errors) == 1
    assert message in errors[0]
    assert not [line for line in out if "Traceback" in line]
    assert not list(Path("saved").glob("*.partial"))
    (file,) = Path("saved").glob("*.resume")
    read_checkpoint(file, kind="a state")
    assert main(["run", *arguments, "--resume=auto"]) == 0


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="no folder here that takes no files")
def test_a_folder_that_takes_no_files_is_told_before_training(small, capsys):
    arguments = [f"--{key}={json.dumps(value)}" for key, value in small.items()]
    where = "--checkpoint_dir=/sys/saved"
    assert main(["run", "--dataset=tiny", "--model=DNN", *arguments, where]) == 2
    assert "error: /sys/saved/.writable cannot be written: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["log", "log/ClickPromptNoPLM", "log_tensorboard"])
def test_a_file_where_a_folder_must_be_is_told(small, capsys, name):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("mine")
    arguments = [f"--{key}={json.dumps(value)}" for key, value in small.items()]
    assert main(["run", "--dataset=tiny", "--model=DNN", *arguments]) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert name in told
    assert "a file exists where a folder is needed" in told
    assert Path(name).read_text() == "mine"


@pytest.mark.parametrize("process", [10**30, -(10**30), "1", None, []])
def test_a_state_with_an_impossible_process_supersedes_nothing(process, monkeypatch, tmp_path):
    state = {"process": (socket.gethostname(), process), "own": {"saved_model_file": "best.pth"}}
    monkeypatch.setattr(resume_file, "read_checkpoint", lambda *_, **__: state)
    (tmp_path / "best.pth").touch()
    assert resume_file.superseded_checkpoint(tmp_path / "run.resume") is None
