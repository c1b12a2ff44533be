"""A random PLM of a given shape."""

from pathlib import Path

from benchmarks.stages.sizes import SIZES, save_random_plm
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer, longest_text


def test_a_random_plm_has_the_shape_and_reads_with_the_other_ones_tokenizer(tiny_bert):
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    assert shape.keys() == SIZES["base"].keys() == SIZES["large"].keys()
    folder = save_random_plm(shape, str(tiny_bert), Path("plm"))
    model = load_plm(folder, num_layers=None, dropout=None)
    assert model.encoder.get_input_embeddings().weight.shape == (50265, 8)
    assert len(model.encoder.encoder.layer) == 2
    assert not model.head_is_new
    assert longest_text(folder) == 513
    text = "title is Silent River."
    assert load_tokenizer(folder)(text)["input_ids"] == load_tokenizer(tiny_bert)(text)["input_ids"]
