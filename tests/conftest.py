"""Tiny PLMs made on the spot, the data set ``tiny``, and a clean working folder for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

import recbole_clickprompt  # noqa: F401 - registers the models

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


def _save(folder: Path, model: Any, tokenizer: Tokenizer, **special: str) -> Path:
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **special).save_pretrained(folder)
    return folder


def save_tiny_bert(folder: Path, *, seed: int = 0) -> Path:
    """A BERT of 3 layers, 2 heads and width 16 with a WordPiece tokenizer."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    return _save(
        folder, BertForMaskedLM(config), tokenizer,
        unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


def save_tiny_roberta(folder: Path) -> Path:
    """A RoBERTa of 2 layers with a byte-level BPE tokenizer, for which a blank is part of a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=130,
        type_vocab_size=1,
        initializer_range=0.2,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    return _save(
        folder, RobertaForMaskedLM(config), tokenizer,
        unk_token="<unk>", pad_token="<pad>", cls_token="<s>", sep_token="</s>", mask_token="<mask>",
        bos_token="<s>", eos_token="</s>",
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("plm") / "bert")


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_roberta(tmp_path_factory.mktemp("plm") / "roberta")


@pytest.fixture(scope="session", params=["bert", "roberta"])
def plm_folder(request: pytest.FixtureRequest, tiny_bert: Path, tiny_roberta: Path) -> Path:
    """Each supported family in turn."""
    return {"bert": tiny_bert, "roberta": tiny_roberta}[request.param]


@pytest.fixture(autouse=True)
def _clean_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # RecBole reads the command line of the process and writes log/ and saved/ into its working folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)


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
