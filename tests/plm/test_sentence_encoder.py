"""Vectors of sentences by a frozen PLM."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from recbole_clickprompt.plm.sentence_encoder import SentenceEncoder

TEXTS = ["title is Sunny River.", "gender is female. age is 18-24.", "x", "title is Sunny River."]


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_vector_is_the_normalized_mean_of_the_last_states(tiny_plms, family):
    encoder = SentenceEncoder(str(tiny_plms[family]))
    vectors = encoder(TEXTS)
    assert vectors.dtype == np.float32
    plm, tokenizer = (
        AutoModel.from_pretrained(tiny_plms[family]).eval(),
        AutoTokenizer.from_pretrained(tiny_plms[family]),
    )
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.no_grad():
            mean = plm(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert np.allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)
    assert (vectors[0] == vectors[3]).all()


def test_long_texts_are_cut_and_no_text_is_no_vector(tiny_bert):
    encoder = SentenceEncoder(str(tiny_bert))
    assert np.isfinite(encoder(["river " * 500])).all()
    assert encoder([]).shape == (0, 16)
