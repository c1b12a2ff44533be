"""Frozen encoders read only texts that no earlier run has read; codes of known items stay as they are."""

from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder
from tests.conftest import SMALL
from tests.days import SETTINGS, write_day

OWN = {
    "KAR": {"level_experts": 2, "adaptor_size": 8, "user_knowledge": "static"},
    "QARMLike": {"user_knowledge": "none"},
}


@pytest.fixture
def settings(tiny_bert):
    write_day("monday")
    write_day("tuesday", 400, reverse=True)
    return {
        **SMALL, **SETTINGS, "plm": str(tiny_bert), "backbone": "DCNV2", "epochs": 1, "baselines": False,
        "save_predictions": False,
    }  # fmt: skip


@pytest.fixture
def texts(monkeypatch):
    """The texts that an encoder has read, in this order."""
    read = []
    original = SentenceEncoder.__call__

    def listed(self, texts):
        read.extend(texts)
        return original(self, texts)

    monkeypatch.setattr(SentenceEncoder, "__call__", listed)
    return read


@pytest.mark.parametrize("model", OWN)
def test_only_new_texts_are_encoded(settings, texts, model):
    given = {**settings, **OWN[model]}
    result = run_recbole(model=model, dataset="monday", config_dict=given)
    on_monday = list(texts)
    texts.clear()
    run_recbole(model=model, dataset="tuesday", config_dict={**given, "warm_start": result["checkpoint"]})
    assert len(texts) > 5
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set(on_monday)
    texts.clear()
    run_recbole(model=model, dataset="tuesday", config_dict={**given, "checkpoint_dir": "elsewhere"})
    assert set(on_monday) & set(texts)


def test_codes_of_known_items_do_not_change_and_their_number_is_kept(settings):
    given = {**settings, **OWN["QARMLike"]}
    result = run_recbole(model="QARMLike", dataset="monday", config_dict=given)
    again = run_recbole(
        model="QARMLike", dataset="tuesday", config_dict={**given, "warm_start": result["checkpoint"]}
    )
    old, new = (torch.load(r["checkpoint"]) for r in (result, again))
    assert torch.equal(old["state_dict"]["codebooks"], new["state_dict"]["codebooks"])
    assert new["config"]["codebook_size"] == old["state_dict"]["codebooks"].shape[1]
    assert old["config"]["codebook_size"] is None
    rows = [Path(f"data/{day}/{day}.inter").read_text().splitlines()[1:] for day in ("monday", "tuesday")]
    assert len(rows[0]) < len(rows[1])


def test_another_encoder_is_refused(settings, tiny_roberta):
    given = {**settings, **OWN["KAR"]}
    result = run_recbole(model="KAR", dataset="monday", config_dict=given)
    again = {**given, "warm_start": result["checkpoint"]}
    with pytest.raises(SettingError, match="was trained with plm: .*bert', and this run has .*roberta'"):
        run_recbole(model="KAR", dataset="tuesday", config_dict={**again, "plm": str(tiny_roberta)})
    with pytest.raises(SettingError, match="other vectors of texts than those of plm: .*max_text_length: 8"):
        run_recbole(model="KAR", dataset="tuesday", config_dict={**again, "max_text_length": 8})
