"""The token table gives what the tokenizer gives for the whole sentence."""

import pytest
import torch

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.plm.loading import load_tokenizer
from recbole_clickprompt.text.text import FieldText, Textualizer
from recbole_clickprompt.text.tokens import TokenTable


@pytest.fixture
def tiny(make_config, make_data, plm_folder):
    train = make_data(make_config(plm=str(plm_folder)))[0]._dataset
    return train, load_tokenizer(plm_folder)


def expected_tokens(dataset, tokenizer, table, length):
    rows = dataset.inter_feat
    sentences = [
        table.textualizer.sentence({key: int(rows[key][row]) for key in table.keys}) for row in range(len(rows))
    ]
    return tokenizer(sentences, truncation=True, max_length=length, padding=True, return_tensors="pt")


def test_every_row_has_the_tokens_of_its_sentence(tiny, plm_folder):
    dataset, tokenizer = tiny
    table = dataset.token_table(str(plm_folder))
    input_ids, lengths = table(dataset.inter_feat)
    expected = expected_tokens(dataset, tokenizer, table, 128)
    assert torch.equal(input_ids, expected["input_ids"])
    assert torch.equal(lengths, expected["attention_mask"].sum(1))


def test_long_rows_are_cut_as_the_tokenizer_cuts_them(tiny):
    dataset, tokenizer = tiny
    table = TokenTable(textualizer=dataset.textualizer(), tokenizer=tokenizer, max_length=21)
    input_ids, lengths = table(dataset.inter_feat)
    assert torch.equal(input_ids, expected_tokens(dataset, tokenizer, table, 21)["input_ids"])
    assert int(lengths.max()) == 21


def test_a_missing_first_value_lets_the_next_field_begin_the_sentence(plm_folder):
    tokenizer = load_tokenizer(plm_folder)
    fields = [
        FieldText.of_texts("gender", "user_id", [None, None, "male"], {}),
        FieldText.of_texts("job", "user_id", [None, "poet", None], {}),
        FieldText.of_texts("title", "item_id", [None, "Silent River"], {}),
    ]
    table = TokenTable(textualizer=Textualizer(fields), tokenizer=tokenizer, max_length=64)
    batch = {"user_id": torch.tensor([1, 2]), "item_id": torch.tensor([1, 1])}
    input_ids, _ = table(batch)
    sentences = ["job is poet. title is Silent River.", "gender is male. title is Silent River."]
    assert input_ids.tolist() == tokenizer(sentences, padding=True)["input_ids"]


def test_bpe_refuses_a_sentence_whose_beginning_is_not_known(tiny_roberta):
    fields = [
        FieldText.of_texts("gender", "user_id", [None, None, "male"], {}),
        FieldText.of_texts("title", "item_id", [None, "Silent River"], {}),
    ]
    with pytest.raises(DataError, match="put an id first in text_fields"):
        TokenTable(textualizer=Textualizer(fields), tokenizer=load_tokenizer(tiny_roberta), max_length=64)


def test_a_tokenizer_that_joins_fields_is_refused(tiny_bert):
    tokenizer = load_tokenizer(tiny_bert)

    class Joining:
        """Stands for a tokenizer whose tokens reach over the blank between two fields."""

        pad_token_id, backend_tokenizer = tokenizer.pad_token_id, tokenizer.backend_tokenizer
        tokenize = staticmethod(tokenizer.tokenize)

        def __call__(self, text, **options):
            cleaned = text.replace(". ", "") if isinstance(text, str) else text
            return tokenizer(cleaned, **options)

    fields = [FieldText.of_texts(name, "item_id", [None, "Silent River"], {}) for name in ("title", "name")]
    table = TokenTable(textualizer=Textualizer(fields), tokenizer=Joining(), max_length=64)
    with pytest.raises(DataError, match="choose another PLM"):
        table.check({"item_id": torch.tensor([1])}, Joining())


def test_rows_that_are_cut_are_counted_in_a_warning(make_config, make_data, tiny_bert, caplog):
    train = make_data(make_config(max_text_length=30))[0]._dataset
    caplog.clear()
    table = train.token_table(str(tiny_bert))
    cut = int((table.full_lengths(train.inter_feat) > 30).sum())
    assert cut > 0
    assert f"the text of {cut} of {len(train)} rows has more than 30 tokens" in caplog.text
