"""Tiny PLMs made on the spot, the data set ``tiny``, and a clean working folder for each test."""

from __future__ import annotations

import functools
import gc
import json
import logging
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import recbole_clickprompt  # noqa: F401 - registers the models; before RecBole, which may find no usable ray

# isort: split
import psutil
import pytest
import torch
import transformers as tf
import yaml
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.onnx._internal.exporter._registration import ONNXRegistry

from recbole_clickprompt.files import locked
from recbole_clickprompt.host import properties

# It protects from a loss of power, which no test is about, and takes milliseconds for each file
os.fsync = lambda _: None

ROOT = Path(__file__).parents[1]
TEXT = [
    "user ID is u12. gender is female. age is 18-24. job is painter. device is phone. film ID is i7.",
    "title is Sunny Golden Merry Happy Grim Haunted Bitter Silent River Garden Mountain Road. year is 1996.",
    "genre is Comedy Drama Thriller Sci-Fi. gender is male. job is miner baker poet. device is tablet.",
    "O'Hara's Café House \"B\" Summer, The Tale (Part 2) 0123456789",
]

SMALL: dict[str, Any] = {
    "data_path": str(ROOT / "dataset_atomic"),
    "gpu_id": "",
    "show_progress": False,
    "baselines": False,  # tests that read them say so
    "num_prompts": 2,
    "embedding_size": 8,
    "mlp_hidden_size": [16, 16],
    "cross_layer_num": 2,
    "epochs": 2,
    "train_batch_size": 64,
    "micro_batch_size": 32,
    "pretrain_epochs": 1,
    "pretrain_batch_size": 64,
    "pretrain_learning_rate": 1e-3,
    "pretrain_plm_learning_rate": 1e-3,
}

# For runs in which little has to be learned: three batches in whole and one in part, instead of 17, an epoch
SHORT = {"train_rows": 250, "pretrain_rows": 250}


SHAPE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
WIDE = {"initializer_range": 0.2}  # so that layers do something


def slow_but(few: Sequence[Any], values: Sequence[Any]) -> list[Any]:
    """Parameters of a test, or tuples of them: it is slow for all but a few, which stand for the others."""
    assert set(few) <= set(values)
    groups = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*group, marks=() if value in few else pytest.mark.slow)
        for group, value in zip(groups, values, strict=True)
    ]


def _word_pieces(*, sentinels: Sequence[str] = ()) -> tuple[Tokenizer, dict[str, Any]]:
    """Each word of TEXT and each character is a piece. Trained tokenizers differ from one process to the next.

    With sentinels it is as T5's: without a mask token, and with nothing before the text.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    clean, split = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {word for text in TEXT for word, _ in split.pre_tokenize_str(clean.normalize_str(text))}
    characters = {c for word in words for c in word}
    pieces = [*special, *sorted(characters | words), *(f"##{c}" for c in sorted(characters)), *sentinels]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = clean, split
    if sentinels:
        tokenizer.post_processor = processors.TemplateProcessing("$A [SEP]", special_tokens=[("[SEP]", 3)])
        tokens = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[SEP]"}
        return tokenizer, {**tokens, "additional_special_tokens": list(sentinels)}
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return tokenizer, dict(zip(names, special, strict=True))


def _byte_pairs(*, causal: bool = False) -> tuple[Tokenizer, dict[str, str]]:
    """Byte-level BPE, for which a blank is part of a token; GPT-2's has one special token and adds none."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = [word for text in TEXT for word, _ in split.pre_tokenize_str(f" {text}")]
    # each word grows from its left, byte by byte
    merges = dict.fromkeys((word[:i], word[i]) for word in words for i in range(1, len(word)))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*special, *alphabet, *(left + right for left, right in merges)])
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, list(merges)))
    tokenizer.pre_tokenizer = split
    tokenizer.add_special_tokens(special)
    if causal:
        return tokenizer, {"eos_token": "</s>"}
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    names = ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token")
    return tokenizer, dict(zip(names, special, strict=True))


def _tiny_model(family: str, vocab_size: int) -> Any:
    shape = {**SHAPE, "vocab_size": vocab_size, "max_position_embeddings": 128, "pad_token_id": 0}
    if family == "bert":
        return tf.BertForMaskedLM(tf.BertConfig(**shape, **WIDE))
    if family == "roberta":
        roberta = {**shape, **WIDE, "max_position_embeddings": 130, "pad_token_id": 1, "type_vocab_size": 1}
        return tf.RobertaForMaskedLM(tf.RobertaConfig(**roberta))
    if family == "electra":
        return tf.ElectraForMaskedLM(tf.ElectraConfig(**shape, **WIDE, embedding_size=8))
    if family == "albert":
        return tf.AlbertForMaskedLM(tf.AlbertConfig(**shape, **WIDE, embedding_size=8))
    if family == "distilbert":
        size = {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "vocab_size": vocab_size}
        return tf.DistilBertForMaskedLM(tf.DistilBertConfig(**size, **WIDE, max_position_embeddings=128))
    if family == "modernbert":
        # window of 2 tokens to each side, so that texts are longer than it
        local = {"local_attention": 4, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3}
        return tf.ModernBertForMaskedLM(tf.ModernBertConfig(**shape, **WIDE, **local))
    if family == "deberta":  # as in v3: bucketed distances, shared projections, normalised embeddings
        far = {"relative_attention": True, "position_buckets": 4, "max_relative_positions": -1}
        far |= {"pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm"}
        return tf.DebertaV2ForMaskedLM(tf.DebertaV2Config(**shape, **WIDE, **far, position_biased_input=False))
    if family == "bart":
        size = {"d_model": 16, "encoder_layers": 3, "decoder_layers": 2, "vocab_size": vocab_size}
        size |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32}
        size |= {"decoder_ffn_dim": 32, "max_position_embeddings": 128, "init_std": 0.2}
        return tf.BartForConditionalGeneration(tf.BartConfig(**size))
    if family == "t5":  # heads that are wider than the states divided among them
        size = {"d_model": 16, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 2, "d_kv": 10, "d_ff": 32}
        near = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 6}
        return tf.T5ForConditionalGeneration(
            tf.T5Config(
                **size, **near, vocab_size=vocab_size, decoder_start_token_id=0, feed_forward_proj="gated-gelu"
            )
        )
    if family in ROTARY:
        shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": None, "eos_token_id": 2}
        if family == "llama":
            return tf.LlamaForCausalLM(tf.LlamaConfig(**shape, **WIDE, bos_token_id=2, tie_word_embeddings=True))
        # windows of 3 tokens, so that texts are longer than them: in the upper layers, and in Mistral in all
        if family == "mistral":
            return tf.MistralForCausalLM(tf.MistralConfig(**shape, **WIDE, sliding_window=3))
        shape |= {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
        if family == "qwen2":
            return tf.Qwen2ForCausalLM(tf.Qwen2Config(**shape, **WIDE, tie_word_embeddings=True))
        # heads that are wider than the states divided among them
        return tf.Qwen3ForCausalLM(tf.Qwen3Config(**shape, **WIDE, head_dim=6, tie_word_embeddings=True))
    size = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 128, "vocab_size": vocab_size}
    return tf.GPT2LMHeadModel(tf.GPT2Config(**size, **WIDE, bos_token_id=2, eos_token_id=2))


ROTARY = ["llama", "mistral", "qwen2", "qwen3"]
CAUSAL = ["gpt2", *ROTARY]
FAMILIES = [
    "bart", "bert", "roberta", "electra", "albert", "distilbert", "modernbert", "deberta", "t5", *CAUSAL,
]  # fmt: skip


def save_tiny_plm(family: str, folder: Path) -> Path:
    """A randomly initialised PLM of 3 layers and width 16, with a tokenizer of its kind.

    It has 2 heads; the rotary causal families have 4, which share 2 heads of keys and values.
    """
    byte_pairs = family in ("roberta", "bart", *CAUSAL)
    sentinels = [f"<extra_id_{number}>" for number in range(30)] if family == "t5" else []
    tokenizer, special = _byte_pairs(causal=family in CAUSAL) if byte_pairs else _word_pieces(sentinels=sentinels)
    torch.manual_seed(0)
    # transformers' tokenizer of Qwen2 adds tokens of its own
    vocab_size = tokenizer.get_vocab_size() + (8 if family in ROTARY else 0)
    _tiny_model(family, vocab_size).save_pretrained(folder)
    tf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **special).save_pretrained(folder)
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process of pytest-xdist makes and all of them read.

    Args:
        factory: Of the process.
        name: Of the folder.
        make: Fills the folder, which is empty.
    """
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    complete = folder / "complete"
    with locked(folder):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder


def _once_per_text(parse: Callable[..., Any]) -> Callable[..., Any]:
    parsed: dict[Any, bytes] = {}

    def parse_once(text: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(text, str):
            return parse(text, *arguments, **options)
        key = (text, *arguments, *options.items())
        if key not in parsed:
            parsed[key] = pickle.dumps(parse(text, *arguments, **options))
        return pickle.loads(parsed[key])

    return parse_once


def pytest_collection_finish() -> None:
    """Takes the libraries and the thousands of tests out of each garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _parse_each_yaml_text_once() -> Iterator[None]:
    # A config reads some 30 property files, in Python, and RecBole's loader gets slower with each config
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "load", _once_per_text(yaml.load))
        patch.setattr(properties, "load_yaml", _once_per_text(properties.load_yaml))
        yield


@pytest.fixture(scope="session", autouse=True)
def _make_the_table_of_onnx_operators_once() -> Iterator[None]:
    # torch's exporter makes it for each file, which is a quarter of its time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session", autouse=True)
def _measure_no_idle_second() -> Iterator[None]:
    # run_recbole measures the load of the machine for a second, in each run, for a table that nothing here reads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "cpu_percent", lambda interval=None: 0.0)
        yield


class _TinyPLMs(dict[str, Path]):
    """Makes the PLM of a family when a test first asks for it: all of them take seconds."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory

    def __missing__(self, family: str) -> Path:
        made = made_once(self._factory, f"plm-{family}", lambda folder: save_tiny_plm(family, folder / family))
        self[family] = made / family
        return self[family]


@pytest.fixture(scope="session")
def tiny_plms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each family."""
    return _TinyPLMs(tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_bert(tiny_plms: dict[str, Path]) -> Path:
    return tiny_plms["bert"]


@pytest.fixture(scope="session")
def tiny_roberta(tiny_plms: dict[str, Path]) -> Path:
    return tiny_plms["roberta"]


@pytest.fixture(scope="session", params=FAMILIES)
def plm_folder(request: pytest.FixtureRequest, tiny_plms: dict[str, Path]) -> Path:
    """Each supported family in turn."""
    return tiny_plms[request.param]


@pytest.fixture(autouse=True)
def _clean_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # RecBole reads the command line of the process and writes log/ and saved/ into its working folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    torch.autograd.set_detect_anomaly(False)  # RecBole's SINE enables it, imported with any sequential model
    handlers = list(logging.root.handlers)
    yield
    for handler in set(logging.root.handlers) - set(handlers):  # they write to a stream that the test has closed
        logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def make_config(tiny_bert: Path) -> Callable[..., Config]:
    """A config on ``tiny`` with small layers; keyword arguments are settings."""

    def make(model: str = "ClickPrompt", dataset: str = "tiny", **settings: Any) -> Config:
        return Config(model, dataset, None, {**SMALL, "plm": str(tiny_bert), **settings})

    return make


@pytest.fixture(scope="session")
def make_data() -> Callable[[Config], Any]:
    """Training, validation and test loader of a config."""
    return lambda config: data_preparation(config, create_dataset(config))


@pytest.fixture
def small(tiny_bert: Path) -> dict[str, Any]:
    """Settings of a small run."""
    return {**SMALL, "plm": str(tiny_bert)}


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> dict[str, Path]:
    """Checkpoints of a backbone with the PLM, without it (the same pretraining, reused) and plain.

    Beside each lies its run folder. They are shared: copy what a test changes.
    """
    models: dict[str, tuple[str, dict[str, Any]]] = {
        "with": ("ClickPrompt", {}),
        "without": ("ClickPromptNoPLM", {}),
        "plain": ("ClickPromptNoPLM", {"train_stage": "finetune"}),
    }

    def train(folder: Path) -> None:
        files: dict[str, str] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr("sys.argv", ["pytest"])
            for name, (model, settings) in models.items():
                own = {**SMALL, "plm": str(tiny_bert), "checkpoint_dir": str(folder / "saved"), **settings}
                own["baselines"] = True
                run_recbole(model=model, dataset="tiny", config_dict=own)
                (files[name],) = {file.name for file in (folder / "saved").glob("*.pth")} - set(files.values())
        (folder / "names.json").write_text(json.dumps(files))

    folder = made_once(tmp_path_factory, "runs", train)
    names = json.loads((folder / "names.json").read_text())
    return {name: folder / "saved" / file for name, file in names.items()}


@pytest.fixture(scope="session")
def method_run(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Callable[[str], Path]:
    """The checkpoint of a small run of a method, which is trained when a test first asks for it.

    Runs are shared: copy what a test changes.
    """
    from tests.methods.small_runs import train_small

    def run(method: str) -> Path:
        folder = made_once(tmp_path_factory, f"run-{method}", lambda new: train_small(method, new, tiny_bert))
        (checkpoint,) = (folder / "saved").glob("*.pth")
        return checkpoint

    return run
