"""P5 on a small T5 with random weights: how rows become questions, and answers scores."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from recbole.quick_start import run_recbole
from recbole.utils import get_model
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.p5.model import P5, QUESTION, WORDS
from recbole_clickprompt.methods.p5.whole_words import build_whole_words
from recbole_clickprompt.plm.row_tokenizer import longest_row, row_tokenizer
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.export import export
from recbole_clickprompt.settings.registry import settings_of
from recbole_clickprompt.trainer.optimizer import build_optimizer
from tests.conftest import SHORT
from tests.methods.p5.t5 import save_random_t5, sentence_pieces
from tests.plm.generative_models import save_model

WHOLE = {"plm_dropout": 0.0}


@pytest.fixture(scope="module")
def random_t5(tmp_path_factory):
    return save_random_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture
def make_p5(make_config, make_data, random_t5):
    def make(words=WORDS, **settings):
        config = make_config("P5", **{"plm": str(random_t5), **settings})
        dataset = make_data(config)[0]._dataset
        torch.manual_seed(5)
        model = P5(config, dataset, words)
        if model.whole_words is not None:  # they start at 0
            model.whole_words.embeddings.weight.data.normal_(std=3.0)
        return model, dataset

    return make


def test_the_encoder_reads_the_text_and_the_question(make_p5, random_t5):
    model, dataset = make_p5()
    batch, textualizer = dataset[torch.arange(20)], dataset.textualizer()
    tokenizer = tf.AutoTokenizer.from_pretrained(random_t5)
    text, lengths = model.prompt(batch)
    for row in range(20):
        keys = {field.key for field in textualizer.fields}
        sentence = textualizer.sentence({key: int(batch[key][row]) for key in keys})
        assert text[row, : lengths[row]].tolist() == tokenizer(sentence + QUESTION)["input_ids"]
        assert (text[row, lengths[row] :] == tokenizer.pad_token_id).all()
    assert tokenizer.decode(text[0, : lengths[0]]).endswith("</s>")


def test_the_question_is_never_cut(make_p5):
    model, dataset = make_p5(max_text_length=8)
    text, lengths = model.prompt(dataset[torch.arange(4)])
    assert lengths.tolist() == [7 + len(model.question)] * 4
    assert all(torch.equal(row[7:], model.question) for row in text)


def test_the_score_is_the_softmax_over_yes_and_no_at_the_first_step(make_p5, random_t5):
    model, dataset = make_p5()
    batch = dataset[torch.arange(12)]
    tokenizer = tf.AutoTokenizer.from_pretrained(random_t5)
    text, lengths = model.eval().prompt(batch)
    with torch.no_grad():
        logits = model.plm.encoder(
            inputs_embeds=model.plm.encoder.shared(text) + model.whole_words(text, lengths),
            attention_mask=(text != tokenizer.pad_token_id).long(),
            decoder_input_ids=torch.zeros(12, 1, dtype=torch.long),
        ).logits[:, 0]
        scores, swapped = model.predict(batch), torch.sigmoid(-model(batch))
    both = logits[:, tokenizer.convert_tokens_to_ids(["▁no", "▁yes"])].softmax(1)
    torch.testing.assert_close(scores, both[:, 1])
    torch.testing.assert_close(scores + swapped, torch.ones(12))
    torch.testing.assert_close(both.sum(1), torch.ones(12))
    assert scores.std() > 1e-3


def test_exchanging_the_words_flips_the_score(make_p5):
    model, dataset = make_p5()
    other, _ = make_p5(words=WORDS[::-1])
    other.load_state_dict(model.state_dict())
    batch = dataset[torch.arange(12)]
    torch.testing.assert_close(model.eval().predict(batch), 1 - other.eval().predict(batch))


def test_the_loss_is_a_mean_over_rows_of_the_mean_over_tokens(make_p5, random_t5):
    model, dataset = make_p5(**WHOLE, pos_weight=3.0)
    batch = dataset[torch.arange(24)]
    tokenizer = tf.AutoTokenizer.from_pretrained(random_t5)
    assert 0 < batch["label"].sum() < 24
    text, lengths = model.prompt(batch)
    losses = []
    for row, label in enumerate(batch["label"]):
        length = lengths[row]
        answer = torch.tensor(tokenizer("yes" if label else "no")["input_ids"])  # with the end token
        added = model.whole_words(text[row : row + 1, :length], lengths[row : row + 1])
        embedded = model.plm.encoder.shared(text[row : row + 1, :length]) + added
        read = torch.cat([torch.zeros(1, dtype=torch.long), answer[:-1]])  # the start token first
        logits = model.plm.encoder(inputs_embeds=embedded, decoder_input_ids=read[None]).logits[0]
        losses.append(F.cross_entropy(logits, answer) * (3.0 if label else 1.0))
    whole = model.calculate_loss(batch)
    assert whole.item() == pytest.approx(torch.stack(losses).mean().item(), abs=1e-5)
    parts = sum(weight * model.calculate_loss(part).item() for part, weight in model.split(batch, 7))
    assert parts == pytest.approx(whole.item(), abs=1e-5)


def test_answers_of_several_tokens_are_compared_by_the_first_one(make_p5, tmp_path):
    folder = save_model(tmp_path / "bytes", "t5", layers=2)  # one token per byte
    model, dataset = make_p5(plm=str(folder))
    tokens = row_tokenizer(folder)
    assert model.answers[1].tolist() == [*tokens("yes")["input_ids"], 0]
    assert model.answers[0].tolist() == [*tokens("no")["input_ids"], 0, -100]
    batch = dataset[torch.arange(8)]
    assert torch.isfinite(model.calculate_loss(batch))
    with pytest.raises(SettingError, match="starts 'yes' and 'yeah' with the same token"):
        make_p5(words=("yes", "yeah"), plm=str(folder))


def test_scores_do_not_depend_on_the_rows_of_a_batch(make_p5):
    model, dataset = make_p5()
    batch = dataset[torch.arange(30)]
    assert len(set(model.text.lengths(batch).tolist())) > 1  # rows are padded
    together = model.eval().predict(batch)
    one_by_one = torch.cat([model.predict(batch[torch.tensor([row])]) for row in range(30)])
    torch.testing.assert_close(one_by_one, together, atol=1e-6, rtol=1e-5)


def test_tokens_of_one_word_have_its_number_and_padding_has_0():
    tokenizer = sentence_pieces()
    words = build_whole_words(tokenizer, vocab_size=len(tokenizer), size=10, width=4)
    sentence = "user ID is u1234. title is Sunny Unheard."
    encoded = tokenizer([sentence, "user ID"], padding=True, return_tensors="pt")
    numbers = words.numbers(encoded["input_ids"], encoded["attention_mask"].sum(1))
    expected = [0 if number is None else number + 1 for number in encoded.word_ids(0)]
    assert numbers[0].tolist() == expected
    assert len(set(expected)) < len(expected) - 1  # some words have several tokens
    assert numbers[1].tolist() == [1, 2] + [0] * (numbers.shape[1] - 2)
    assert not words(encoded["input_ids"], encoded["attention_mask"].sum(1)).any()  # embeddings start at 0
    long = torch.tensor([tokenizer("user " * 30)["input_ids"]])
    assert int(words.numbers(long, torch.tensor([31])).max()) == 9  # the last one is shared


@pytest.mark.parametrize(
    ("family", "expected"),
    [("bert", [0, 1, 2, 3, *[4] * 8, 5, 0]), ("roberta", [0, *[1] * 4, 2, 3, *[4] * 9, 0])],  # with or without "."
)
def test_words_of_other_tokenizers_are_numbered_too(tiny_plms, family, expected):
    tokenizer = tf.AutoTokenizer.from_pretrained(tiny_plms[family])
    words = build_whole_words(tokenizer, vocab_size=len(tokenizer), size=50, width=4)
    encoded = tokenizer(["film ID is unheard7."], return_tensors="pt")
    assert words.numbers(encoded["input_ids"], encoded["attention_mask"].sum(1)).tolist() == [expected]


def test_tokens_that_do_not_show_words_are_refused():
    tokenizer = sentence_pieces()
    tokenizer.get_vocab = lambda: {"a": 0, "b": 1}
    with pytest.raises(SettingError, match="do not show where words start; set p5_ids to False"):
        build_whole_words(tokenizer, vocab_size=2, size=10, width=4)


def test_whole_words_count_in_training_validation_and_serving(make_p5):
    model, dataset = make_p5(**WHOLE)
    without, _ = make_p5(**WHOLE, p5_ids=False)
    assert without.whole_words is None
    without.load_state_dict({n: w for n, w in model.state_dict().items() if not n.startswith("whole_words")})
    batch = dataset[torch.arange(12)]
    for function in ("calculate_loss", "predict", "forward"):  # its public code validates without them
        first, second = (getattr(m.eval(), function)(batch) for m in (model, without))
        assert not torch.allclose(first, second, atol=1e-4), function
    model.whole_words.embeddings.weight.data.zero_()
    torch.testing.assert_close(model.predict(batch), without.predict(batch))


def test_a_whole_run_is_predicted_and_reported(small, random_t5):
    settings = {**small, **SHORT, "plm": str(random_t5), "epochs": 1}
    run_recbole(model="P5", dataset="tiny", config_dict=settings)
    (run,) = Path("saved").glob("P5-*.pth")
    folder = open_run(run)
    assert list(folder.history()["stage"].unique()) == ["finetune"]
    names = torch.load(run)["state_dict"].keys()
    assert {name.partition(".")[0] for name in names} == {"plm", "whole_words"}
    table = folder.predictions("test")
    assert torch.sigmoid(torch.tensor(table["logit_plm"])).numpy() == pytest.approx(table["score"], abs=1e-6)
    rows = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"}).assign(device="phone")
    new = pd.DataFrame({"user_id": ["new"], "item_id": ["newer"], "device": ["phone"], "title": ["Grim Tale"]})
    scores = load_model(run).predict(pd.concat([rows, new]))
    assert scores.shape == (len(rows) + 1,)
    assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.slow
def test_an_export_scores_as_the_model_does(small, random_t5):
    settings = {**small, **SHORT, "plm": str(random_t5), "epochs": 1}
    run_recbole(model="P5", dataset="tiny", config_dict=settings)
    (run,) = Path("saved").glob("P5-*.pth")
    assert export(run, Path("exported"), int8=False, rows=20).difference <= 1e-5
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i2", "i3"], "device": ["phone", "tablet"]})
    np.testing.assert_allclose(load_model("exported").predict(rows), load_model(run).predict(rows), atol=1e-5)


def test_it_learns_to_answer(make_p5):
    model, dataset = make_p5(**WHOLE)
    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=1e-2, plm_learning_rate=1e-2, weight_decay=0.0
    )
    batch, losses = dataset[torch.arange(24)], []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.train().calculate_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    scores = model.eval().predict(batch)
    assert losses[-1] < 0.5 * losses[0]
    assert scores[batch["label"] > 0].mean() > scores[batch["label"] == 0].mean() + 0.5


def test_other_methods_need_a_t5_that_can_mask(make_config, make_data, random_t5):
    config = make_config("PTab", plm=str(random_t5), train_stage="finetune")
    with pytest.raises(WeightsError, match="no sentinels .*, which a 't5' model needs"):
        get_model("PTab")(config, make_data(config)[0]._dataset)


def test_lengths_without_a_limit_are_those_of_pretraining(random_t5, tiny_bert):
    assert longest_row(random_t5) == 512
    assert longest_row(tiny_bert) == 128


def test_a_text_leaves_room_for_the_question(make_p5, tiny_plms, tmp_path):
    folder = shutil.copytree(tiny_plms["bart"], tmp_path / "bart")
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "</s>"
    tokenizer.save_pretrained(folder)
    with pytest.raises(SettingError, match="max_text_length is 128, and a question of") as raised:
        make_p5(plm=str(folder))
    (longest,) = re.findall(r"set it to (\d+) or less", str(raised.value))
    model, dataset = make_p5(plm=str(folder), max_text_length=int(longest))
    assert model.prompt(dataset[torch.arange(4)])[1].max() <= 128
    assert torch.isfinite(model.eval().predict(dataset[torch.arange(4)])).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history_length": 5}, "history_length has no effect: P5 has no CTR model"),
        ({"init_from_text": ["item_id"]}, "init_from_text has no effect"),
        ({"pre_model_path": "x"}, "pre_model_path has no effect: P5 has no stage"),
        ({"plm_num_layers": 1}, "plm_num_layers has no effect"),
        ({"plm_lora": {"r": 2}}, "plm_lora has no effect"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config("P5", **settings)


def test_a_model_without_decoder_is_refused(make_p5, tiny_plms):
    with pytest.raises(WeightsError, match="'bert' model, which does not generate text"):
        make_p5(plm=str(tiny_plms["bert"]))
    with pytest.raises(SettingError, match="'gpt2' model, which has no decoder next to an encoder"):
        make_p5(plm=str(tiny_plms["gpt2"]))


def test_its_plm_is_t5_small_by_default():
    assert settings_of("P5")["plm"].default == "t5-small"
