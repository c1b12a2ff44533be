"""A file of the wrong kind is called what it is, never damaged, wherever a checkpoint is read."""

import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.quick_start import run_recbole
from safetensors.torch import save_file

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import UserError, WeightsError
from recbole_clickprompt.files import write_whole
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.file_kinds import FINETUNED, PRETRAINED, UNFINISHED, kind_of
from recbole_clickprompt.trainer.pretrained_checkpoint import read_inputs
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.conftest import SMALL

GIVE = "give the .pth file that training wrote, or the folder next to it"


def recbole(path):
    config = Config("ClickPromptNoPLM", "tiny", None, SMALL)
    state = {"config": config, "state_dict": {"weight": torch.zeros(2)}}
    torch.save(state, path, pickle_protocol=4)  # as RecBole's trainer does


def plain_recbole(path):
    torch.save({"config": {"model": "LR", "dataset": "tiny"}, "state_dict": {"weight": torch.zeros(2)}}, path)


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "text")


def onnx_folder(path):
    path.mkdir()
    (path / "model.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")


OTHERS = {
    "text": (lambda path: path.write_text("user_id,item_id\n1,2\n"), "a text file", GIVE),
    "empty": (lambda path: path.touch(), "an empty file", GIVE),
    "pickle": (lambda path: path.write_bytes(pickle.dumps([1])), "a pickle, or a file in torch's format", GIVE),
    "list": (lambda path: torch.save([1, 2], path), "a file that torch wrote, but no checkpoint of this", GIVE),
    "weights": (lambda path: torch.save({"w": torch.zeros(1)}, path), "a file of weights without settings", GIVE),
    "archive": (archive, "a zip archive that torch did not write", GIVE),
    "numbers": (lambda path: path.write_bytes(np.arange(99).tobytes()), "no file of torch or safetensors", GIVE),
    "RecBole": (recbole, "a checkpoint that RecBole's own trainer wrote", "recbole-cp run --model"),
    "language model": (
        lambda path: save_file({"w": torch.zeros(1)}, path, metadata={"format": "pt"}),
        "a safetensors file of another program, such as the weights of a language model",
        "name the folder of a language model in plm or student",
    ),
    "cache": (
        lambda path: save_file({"w": torch.zeros(1)}, path, metadata={"format": "clickprompt-tokens-1"}),
        "a file that this package computes itself",
        GIVE,
    ),
    "export": (onnx_folder, "an exported ONNX model", "use the .pth file of the exported run"),
    "folder": (lambda path: path.mkdir(), "a folder without a run", GIVE),
}


def run(**settings):
    given = {**SMALL, "train_stage": "finetune", "baselines": False, "epochs": 1, **settings}
    return run_recbole(model="ClickPromptNoPLM", dataset="tiny", config_dict=given)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("setting", ["warm_start", "pre_model_path", "resume"])
def test_other_files_are_named_in_training(kind, setting):
    make, words, advice = OTHERS[kind]
    path = Path("other.pth")
    make(path)
    with pytest.raises(WeightsError) as error:
        run(**{setting: "other.pth"})
    message = str(error.value)
    assert f"other.pth is {words}" in message
    assert "expected" in message
    assert advice in message
    assert "damaged" not in message


@pytest.mark.parametrize("kind", [kind for kind in OTHERS if kind not in ("export", "folder")])
def test_other_files_are_named_in_serving(kind):
    make, words, _ = OTHERS[kind]
    make(Path("other.pth"))
    with pytest.raises(WeightsError, match=f"other.pth is {words}") as error:
        load_model("other.pth")
    assert "damaged" not in str(error.value)


def test_a_model_of_recboles_own_is_named():
    plain_recbole(Path("plain.pth"))
    with pytest.raises(WeightsError, match="plain.pth is a checkpoint of RecBole's model 'LR'.*recbole-cp run"):
        run(warm_start="plain.pth")


def test_files_of_this_package_are_named_where_another_one_is_expected(trained_runs, capsys):
    stage = next(trained_runs["with"].parent.glob("*-pretrained-*.safetensors"))
    assert (kind_of(trained_runs["plain"]), kind_of(stage)) == (FINETUNED, PRETRAINED)
    with pytest.raises(WeightsError, match="is the file of a finetuned model .*; expected the result of a stage"):
        run(pre_model_path=str(trained_runs["plain"]))
    with pytest.raises(WeightsError, match="is the file of a finetuned model .*; expected the state of an unfin"):
        run(resume=str(trained_runs["plain"]))
    with pytest.raises(WeightsError, match="is the result of a stage .*; expected a model saved by RecBole or"):
        load_model(stage)
    Path("rows.csv").write_text("user_id,item_id\nu1,i1\n")
    assert main(["predict", str(stage), "rows.csv", "--output=scores.csv"]) == 2
    assert "use it as pre_model_path or warm_start" in capsys.readouterr().err
    folder = trained_runs["plain"].with_suffix("")
    assert kind_of(folder).words == "a run folder"
    with pytest.raises(WeightsError, match="is a run folder; expected the result of a stage"):
        read_inputs(folder)


def test_the_result_of_another_stage_is_named(trained_runs):
    stage = next(trained_runs["with"].parent.glob("*-pretrained-*.safetensors"))
    with pytest.raises(UserError, match="result of a stage pretrain of another method than CTRL, .*contrast"):
        run_recbole(model="CTRL", dataset="tiny", config_dict={**SMALL, "warm_start": str(stage)})
    given = {**SMALL, "warm_start": str(stage), "knowledge_vectors": "texts", "plm": "hashed"}
    with pytest.raises(UserError, match="another method than KAR, which has no stage before finetuning"):
        run_recbole(model="KAR", dataset="tiny", config_dict=given)


def test_the_state_of_an_unfinished_run_is_named(monkeypatch):
    train_batch = TrainingStage.train_batch

    def interrupted(self, batch):
        if self.scheduler.last_epoch == 2:
            raise KeyboardInterrupt
        return train_batch(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStage, "train_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(checkpoint_minutes=1e-9)
    (half_trained,) = Path("saved").glob("*.resume")
    with pytest.raises(WeightsError, match=r"is the state of an unfinished .*; finish that run with --resume"):
        run(warm_start=str(half_trained))
    assert kind_of(half_trained) is UNFINISHED
    with pytest.raises(WeightsError, match="is the state of an unfinished training run"):
        load_model(half_trained)


def test_a_damaged_file_is_still_called_damaged(trained_runs):
    stage = next(trained_runs["with"].parent.glob("*-pretrained-*.safetensors"))
    for source, name in ((trained_runs["plain"], "cut.pth"), (stage, "cut.safetensors")):
        content = source.read_bytes()
        write_whole(Path(name), lambda path, content=content: path.write_bytes(content[: len(content) // 2]))
        with pytest.raises(WeightsError, match=f"{name} is damaged"):
            run(warm_start=name)
    shutil.copy(stage, "flipped.safetensors")
    content = bytearray(stage.read_bytes())
    content[-5] ^= 1
    Path("flipped.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"flipped.safetensors is damaged: its checksum does not match"):
        run(warm_start="flipped.safetensors")
