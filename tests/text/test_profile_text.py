"""Profiles of users in words."""

from recbole_clickprompt.text.profile_text import item_names, profile_text
from recbole_clickprompt.text.text import FieldText


def features():
    titles = FieldText.of_texts("title", "item_id", [None, "Se7en", "E.T.", None, None], {})
    years = FieldText.of_texts("year", "item_id", [None, "1995", None, "1999", None], {})
    genres = FieldText.of_texts("genre", "item_id", [None, "Crime", "Children", None, None], {})
    return [titles, years, genres]


def test_an_item_is_its_first_feature_with_the_others_in_parentheses():
    assert item_names(features()) == ["", "Se7en (1995, Crime)", "E.T. (Children)", "1999", ""]


def test_a_profile_has_the_features_and_what_was_liked():
    names = item_names(features())
    assert profile_text("age is 24.", [names[2], names[4], names[1]]) == (
        "age is 24. Liked: E.T. (Children); Se7en (1995, Crime)."
    )
    assert profile_text("age is 24.", []) == "age is 24."
    assert profile_text("", ["Heat"]) == "Liked: Heat."
    assert profile_text("", []) == ""
