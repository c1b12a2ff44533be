"""Exact sentences."""

import numpy as np
import pytest

from recbole_clickprompt.data.numbers import number_text
from recbole_clickprompt.text.text import FieldText, Textualizer, list_joiner


@pytest.fixture(scope="module")
def tiny(make_config, make_data):
    return make_data(make_config())[0]._dataset


def row_of(dataset, user, item, device):
    return {
        "user_id": dataset.field2token_id["user_id"][user],
        "item_id": dataset.field2token_id["item_id"][item],
        "device": dataset.field2token_id["device"][device],
    }


def test_a_row_of_every_field_type_reads_as_one_sentence_a_field(tiny):
    assert tiny.textualizer().sentence(row_of(tiny, "u1", "i1", "tablet")) == (
        "user ID is u1. gender is female. age is 25-34. job is baker. device is tablet. "
        "film ID is i1. title is Bitter Garden. year is 1996. genre is Sci-Fi Drama."
    )


def test_missing_values_give_no_part_of_the_sentence(tiny):
    # u0 has no gender; i0 has neither year nor genre
    assert tiny.textualizer().sentence(row_of(tiny, "u0", "i0", "phone")) == (
        "user ID is u0. age is 35-44. job is miner. device is phone. film ID is i0. title is Happy Summer, The."
    )


def test_quotes_and_accents_come_through(tiny):
    texts = " ".join(tiny.textualizer().fields[6].parts)
    assert 'House "B".' in texts
    assert "O'Hara's Café." in texts


def test_interaction_numbers_and_sequences_become_text(make_config, make_data):
    config = make_config(
        text_fields={"item_id": "film", "rating": "stars"},
        val_interval=None,
        threshold={"timestamp": 1_000_001_000},
        unused_col=None,
        eval_args={"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"},
    )
    train = make_data(config)[0]._dataset
    textualizer = train.textualizer()
    row = {key: int(train.inter_feat[key][0]) for key in ("item_id", "rating_text")}
    assert textualizer.fields[1].key == "rating_text"
    assert sorted(textualizer.fields[1].parts) == [f"stars is {n}." for n in range(1, 6)]
    assert textualizer.sentence(row).startswith("film is i")
    # and the column is no feature of the backbone
    assert "rating_text" not in config["backbone"]
    from recbole_clickprompt.backbones.adapter import build_backbone

    assert "rating_text" not in build_backbone(config, train).model.token_field_names


@pytest.mark.parametrize(
    ("number", "text"), [(1996.0, "1996"), (7.99, "7.99"), (-3.0, "-3"), (0.5, "0.5"), (1e7, "10000000")]
)
def test_numbers_read_as_people_write_them(number, text):
    assert number_text(number) == text


def test_several_values_are_joined_and_codes_translated():
    tokens = np.array(["[PAD]", "c", "d"])
    field = FieldText.of_id_rows("genre", "item_id", tokens, np.array([[0, 0], [2, 1], [1, 0]]), {"c": "Comedy"})
    textualizer = Textualizer([field])
    assert [textualizer.sentence({"item_id": i}) for i in range(3)] == [
        "",
        "genre is d Comedy.",
        "genre is Comedy.",
    ]
    with_commas = FieldText.of_id_rows("genre", "item_id", tokens, np.array([[2, 1]]), {}, list_joiner("|"))
    assert with_commas.parts == ["genre is d, c."]


def test_shuffled_fields_of_one_key_move_together_and_padding_stays():
    words = {}
    name = FieldText.of_texts("name", "item_id", [None, "a", "b", "c", "d"], words)
    kind = FieldText.of_texts("kind", "item_id", [None, "A", "B", "C", "D"], words)
    one, two = name.shuffled(3), kind.shuffled(3)
    assert one.codes[0] == -1
    assert one.codes.tolist() == two.codes.tolist() != name.codes.tolist()
    assert sorted(one.codes) == sorted(name.codes)


def test_the_control_gives_users_and_items_the_text_of_others(make_config, make_data):
    def sentences(**settings):
        dataset = make_data(make_config(**settings))[0]._dataset
        return [dataset.textualizer().sentence({"user_id": u, "item_id": 1, "device": 1}) for u in range(1, 9)]

    true, shuffled = sentences(), sentences(shuffle_text=True)
    assert true != shuffled
    assert shuffled == sentences(shuffle_text=True)
    assert shuffled != sentences(shuffle_text=True, seed=7)
