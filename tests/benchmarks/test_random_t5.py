"""The T5 with random weights that P5 is compared with on ml-100k."""

import transformers as tf

from benchmarks.random_t5 import main


def test_the_model_reads_every_word_of_a_row(tmp_path):
    folder = tmp_path / "random-t5"
    assert main(["--folder", str(folder)]) == 0
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    model = tf.T5ForConditionalGeneration.from_pretrained(folder)
    row = "gender is male. title is English Patient, The. film genre is Drama. Will the user like the item?"
    assert tokenizer.unk_token_id not in tokenizer(row)["input_ids"]
    assert tokenizer("yes")["input_ids"] != tokenizer("no")["input_ids"]
    assert model.config.vocab_size >= len(tokenizer)
