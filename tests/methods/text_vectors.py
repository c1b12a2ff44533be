"""A method whose model encodes texts of users and items one by one: a backbone, plus a weighted sum of vectors."""

import hashlib
import zlib

import torch
from torch import nn

from recbole_clickprompt import register_method
from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.methods.ctr_model import LabeledRowsModel
from recbole_clickprompt.text.descriptions import descriptions

WORDS, WIDTH = 499, 8
WIDTHS = {"user": 5, "item": 6}


class TextVectors(LabeledRowsModel):
    """Vectors are the mean of fixed vectors of words, adapted; those of training are buffers, by id.

    Attributes:
        texts: Texts that were encoded, in this order.
    """

    vector_widths = WIDTHS

    def __init__(self, config, dataset):
        super().__init__(config)
        self.keys = {"user": config["USER_ID_FIELD"], "item": config["ITEM_ID_FIELD"]}
        self.backbone = build_backbone(config, dataset)
        self.words = nn.EmbeddingBag(WORDS, WIDTH, mode="mean").requires_grad_(False)
        self.adaptors = nn.ModuleDict({level: nn.Linear(WIDTH, width) for level, width in WIDTHS.items()})
        self.adaptors.requires_grad_(False)
        self.head = nn.Linear(sum(WIDTHS.values()), 1)
        nn.init.normal_(self.head.weight)
        for level, width in WIDTHS.items():
            self.register_buffer(f"{level}_vectors", torch.zeros(dataset.num(self.keys[level]), width))
        self.texts = []

    def forward(self, batch):
        vectors = [self.vectors(level, batch) for level in WIDTHS]
        return self.backbone.logit(batch) + self.head(torch.cat(vectors, dim=1)).squeeze(1)

    def vectors(self, level, batch):
        if f"{level}_vector" in batch.interaction:
            return batch[f"{level}_vector"]
        return self.get_buffer(f"{level}_vectors")[batch[self.keys[level]]]

    def encode_texts(self, level, texts):
        self.texts += texts
        words = [[zlib.crc32(word.encode()) % WORDS for word in text.split()] or [0] for text in texts]
        device = self.words.weight.device
        starts = torch.tensor([0, *map(len, words)], device=device).cumsum(0)[:-1]
        flat = torch.tensor([word for text in words for word in text], device=device)
        return self.adaptors[level](self.words(flat, starts))

    def vectors_hash(self):
        digest = hashlib.sha256()
        for weight in (*self.words.parameters(), *self.adaptors.parameters()):
            digest.update(weight.detach().cpu().numpy().tobytes())
        return digest.hexdigest()


class TextVectorsMethod(Method):
    name = "TextVectors"

    def model_class(self):
        return TextVectors

    def reads_text(self, settings):
        return True

    def begin_finetuning(self, config, model, *, train_data, **_):
        with torch.no_grad():
            for level in WIDTHS:
                texts = descriptions(train_data._dataset, level)
                model.get_buffer(f"{level}_vectors")[1:] = model.encode_texts(level, texts[1:])


register_method(TextVectorsMethod())
