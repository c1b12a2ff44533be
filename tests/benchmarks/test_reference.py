"""The benchmark's reference implementation against the product."""

import shutil

import pytest
import torch
import transformers as tf

from benchmarks.stages.equality import UnequalError, check_curves, check_stage
from benchmarks.stages.job import Contender, Job
from benchmarks.stages.reference import PlainPAMLM
from benchmarks.stages.workload import Workload
from recbole_clickprompt.errors import SettingError

OURS, PLAIN = Contender("ours", "ours"), Contender("plain", "reference")


@pytest.fixture
def workload_of(small):
    return lambda **settings: Workload(Job(dataset="tiny", settings={**small, **settings}))


@pytest.mark.parametrize("stage", ["pamlm", "finetune", "inference"])
def test_ours_equals_the_plain_form(workload_of, stage):
    assert check_stage(workload_of(), stage, 40) < 1e-5


def test_it_also_does_with_byte_level_tokens_and_counted_positions(workload_of, tiny_roberta):
    assert check_stage(workload_of(plm=str(tiny_roberta)), "pamlm", 40) < 1e-5


def test_gradients_of_the_plm_are_the_same(workload_of):
    workload = workload_of()
    gradients = []
    for contender in (PLAIN, OURS):
        _, model = workload.plm_model("pamlm", contender)
        model.eval()
        rows = workload.rows(0, 24)
        torch.manual_seed(1)
        if contender is PLAIN:
            loss, words = model.calculate_loss(rows), model.encoder.get_input_embeddings().weight
        else:
            loss = sum(weight * model.calculate_loss(part) for part, weight in model.split(rows, 10))
            words = model.plm.encoder.get_input_embeddings().weight
        gradients.append(torch.autograd.grad(loss, [words, *model.backbone.parameters()], allow_unused=True))
    for plain, ours in zip(*gradients, strict=True):
        assert (plain is None) is (ours is None)
        if plain is not None:
            torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)
    assert gradients[0][0].abs().sum() > 0


def test_a_new_lm_head_trains_at_the_rate_that_ours_gives_it(workload_of, tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert, tmp_path / "headless")
    tf.BertModel.from_pretrained(tiny_bert).save_pretrained(folder)
    for plm, new in ((tiny_bert, False), (folder, True)):
        workload, sizes = workload_of(plm=str(plm)), []
        for contender in (PLAIN, OURS):
            _, model = workload.plm_model("pamlm", contender)
            assert model.new_head is new
            sizes.append(sorted(p.numel() for p in model.pretrained_parameters()))
        assert sizes[0] == sizes[1]


def test_a_difference_stops_the_benchmark(workload_of, monkeypatch):
    tokenize = PlainPAMLM.tokenize

    def wrong(self, interaction):
        input_ids, lengths = tokenize(self, interaction)
        return input_ids, lengths - 1  # as if the last token were padding

    monkeypatch.setattr(PlainPAMLM, "tokenize", wrong)
    with pytest.raises(UnequalError, match="pamlm, batch 40: our model differs from the reference by"):
        check_stage(workload_of(), "pamlm", 40)


def test_so_do_different_curves():
    check_curves({"a": 0.5001, "b": 0.5}, "a", "b")
    with pytest.raises(UnequalError, match="mean losses 0.51000 and 0.50000; they must agree to 0.001"):
        check_curves({"a": 0.51, "b": 0.5}, "a", "b")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_strategy": "input"}, "layerwise prompts with one MLP each"),
        ({"plm_interaction_layers": 1}, "or give the latter in a --variant"),
        ({"plm_pooling": "avg"}, "pools the first position; leave"),
    ],
)
def test_settings_without_a_reference_implementation_are_refused(workload_of, settings, message):
    with pytest.raises(SettingError, match=message):
        workload_of(**settings).plm_model("finetune", PLAIN)


def test_another_family_is_refused(workload_of, tiny_plms):
    with pytest.raises(SettingError, match="supports bert, roberta, xlm-roberta, camembert, not gpt2"):
        workload_of(plm=str(tiny_plms["gpt2"])).plm_model("pamlm", PLAIN)
