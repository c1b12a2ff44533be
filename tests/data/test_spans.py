"""The tokens of each value in the text of a row."""

import pytest
from tokenizers import decoders, pre_tokenizers

from recbole_clickprompt.data.spans import row_tokens
from recbole_clickprompt.data.text import FieldText, Textualizer
from recbole_clickprompt.model.plm.loading import load_tokenizer

NAMES = ["gender", "title", "year is"]


@pytest.fixture
def textualizer():
    gender = FieldText.of_texts(NAMES[0], "user_id", [None, "male", None], {})
    title = FieldText.of_texts(NAMES[1], "item_id", [None, "Silent River (Part 2)", "O'Hara's Café is House"], {})
    year = FieldText.of_texts(NAMES[2], "item_id", [None, "1996", "1996"], {})
    return Textualizer([gender, title, year])


def words(tokenizer, ids):
    pieces = tokenizer.convert_ids_to_tokens(ids)
    byte_pairs = isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel)
    text = (decoders.ByteLevel() if byte_pairs else decoders.WordPiece()).decode(pieces)
    return text.replace(" ", "").casefold()


@pytest.fixture
def read(textualizer, plm_folder):
    """A row's fields as words, its tokens, and the tokenizer."""
    tokenizer = load_tokenizer(plm_folder)

    def read(user, item, max_length=64):
        row = {"user_id": user, "item_id": item}
        tokens = row_tokens(textualizer, NAMES, tokenizer, row, max_length=max_length)
        assert tokens.input_ids == tokenizer(textualizer.sentence(row))["input_ids"][: len(tokens.input_ids)]
        ids = {name: [tokens.input_ids[place] for place in places] for name, places in tokens.fields.items()}
        return {name: words(tokenizer, own) for name, own in ids.items()}

    return read


def test_each_field_has_the_tokens_of_its_value_alone(read):
    words = read(1, 1)
    assert words.pop("title").rstrip(".") == "silentriver(part2)"  # byte pairs may join ")."
    assert words == {"gender": "male", "year is": "1996"}


def test_a_missing_value_moves_the_others_forward_and_is_left_out(read):
    words = read(2, 2)
    assert words.keys() == {"title", "year is"}
    assert words["title"].replace("é", "e") == "o'hara'scafeishouse"
    assert words["year is"] == "1996"


def test_what_is_cut_off_is_not_there(textualizer, tiny_bert):
    tokenizer = load_tokenizer(tiny_bert)
    # [CLS] gender is male . title is silent [SEP]
    tokens = row_tokens(textualizer, NAMES, tokenizer, {"user_id": 1, "item_id": 1}, max_length=9)
    assert tokens.fields == {"gender": [3], "title": [7]}
    assert tokens.input_ids[8] == tokenizer.sep_token_id
