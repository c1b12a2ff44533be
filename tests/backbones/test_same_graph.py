"""Finetuned without PLM, a model computes what its plain backbone computes, and nothing else (Table 8)."""

import pytest
import torch
from recbole.utils import get_model
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components
from tests.stages import pretrain


class Operations(TorchDispatchMode):
    """Notes every operation that reaches the device, with the shapes that go into it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.append((str(function), [tuple(a.shape) for a in args if isinstance(a, torch.Tensor)]))
        return function(*args, **(kwargs or {}))


def operations(predict, rows):
    with torch.inference_mode(), Operations() as mode:
        predict(rows)
    return mode.seen


@pytest.mark.parametrize("backbone", ["DCNV2", "AutoInt", "DeepFM", "DNN", "PNN", "EulerNet"])
def test_the_model_without_plm_runs_the_operations_of_its_plain_backbone(make_config, make_data, backbone):
    config = make_config("ClickPromptNoPLM", backbone=backbone)
    dataset = make_data(config)[2]._dataset
    rows = dataset[:128]
    ours = get_model("ClickPromptNoPLM")(config, dataset).eval()
    host = build_backbone(config, dataset).model.eval()  # the RecBole model alone
    found = operations(ours.predict, rows)
    assert found == operations(host.predict, rows)
    assert len(found) > 5


def test_pretraining_leaves_nothing_behind_but_weights(make_config, make_data):
    config = make_config("ClickPromptNoPLM")
    train, valid, test = make_data(config)
    plain = get_model("ClickPromptNoPLM")(config, train._dataset).eval()
    pretrained = get_model("ClickPromptNoPLM")(config, train._dataset).eval()
    path = pretrain(config, train, valid, show_progress=False, report=lambda *_: None)
    load_components(pretrained, path, pretrained.pretrained_components)
    rows = test._dataset[:128]
    assert operations(pretrained.predict, rows) == operations(plain.predict, rows)
    shapes = [{name: tuple(p.shape) for name, p in model.state_dict().items()} for model in (plain, pretrained)]
    assert shapes[0] == shapes[1]
