"""Every data set's property file against the header of its files, and a small folder of that header read by it.

Where the headers come from is told in ``docs/data.md``.
"""

import itertools
from pathlib import Path

import pytest
from recbole.data import create_dataset, data_preparation

from recbole_clickprompt.host.properties import read_yaml

PROPS = Path(__file__).parents[2] / "props" / "dataset"

RATING = "user_id:token item_id:token rating:float timestamp:float"
PEOPLE = "user_id:token age:token gender:token occupation:token zip_code:token"
FILMS = "item_id:token movie_title:token release_year:token genre:token_seq"
LARGE_FILMS = "item_id:token movie_name:token_seq release_year:token type:token_seq"
SALES = "item_id:token title:token price:float sales_type:token sales_rank:float brand:token categories:token_seq"
REVIEW = "useful:float funny:float cool:float"
YELPERS = (
    "user_id:token user_name:token user_review_count:float yelping_since:float user_useful:float user_funny:float "
    "user_cool:float elite:token fans:float average_stars:float"
)
PLACES = (
    "item_id:token item_name:token_seq address:token_seq city:token_seq state:token postal_code:token "
    "latitude:float longitude:float item_stars:float item_review_count:float is_open:float categories:token_seq"
)
PLAYS = (
    "user_id:token play_hours:float products:token product_id:token page_order:float timestamp:float "
    "early_access:token page:float found_funny:token compensation:token"
)
GAMES = (
    "app_name:token developer:token early_access:token genres:token_seq id:token metascore:float price:float "
    "publisher:token timestamp:float sentiment:token specs:token_seq tags:token_seq title:token"
)
BOOKS = (
    "item_id:token book_title:token genre:token average_rating:token num_reviews:token author_id:token "
    "author_name:token num_pages:token is_ebook:token format:token publisher:token publication_year:token "
    "work_id:token media_type:token"
)
ADS = (
    "user_id:token ad_id:token click:float url_id:token advertiser_id:token depth:token position:token "
    "query_id:token keyword_id:token title_id:token description_id:token query:token_seq keyword:token_seq "
    "title:token_seq description:token_seq num_impressions:float num_clicks:float"
)
HEADERS = {
    "tiny": {
        "inter": f"{RATING} device:token",
        "user": "user_id:token gender:token age:token job:token",
        "item": "item_id:token title:token_seq year:token genre:token_seq",
    },
    "ml-1m": {"inter": RATING, "user": PEOPLE, "item": FILMS},
    "ml-10m": {"inter": RATING, "item": LARGE_FILMS},
    "ml-20m": {"inter": RATING, "item": LARGE_FILMS},
    "ml-latest-small": {"inter": RATING, "item": FILMS},
    "book-crossing": {
        "inter": "user_id:token item_id:token rating:float",
        "user": "user_id:token location:token age:token",
        "item": "item_id:token book_title:token book_author:token publication_year:token publisher:token",
    },
    "goodreads": {"inter": RATING, "item": BOOKS},
    "amazon-toys-games-18": {"inter": RATING, "item": "item_id:token category:token title:token brand:token"},
    **{
        f"amazon-{name}": {"inter": RATING, "item": SALES}
        for name in ("books", "electronics", "movies-tv", "toys-games", "video-games")
    },
    "yelp": {
        "inter": f"review_id:token user_id:token business_id:token stars:float {REVIEW} date:float",
        "user": YELPERS,
        "item": PLACES.replace("item_id", "business_id"),
    },
    **{
        f"yelp-{year}": {"inter": f"{RATING} {REVIEW} review_id:token", "user": YELPERS, "item": PLACES}
        for year in (2018, 2021, 2022)
    },
    "steam-merged": {"inter": f"{PLAYS} times:float", "item": GAMES},
    "steam-not-merged": {"inter": PLAYS, "item": GAMES},
    "kdd2012": {
        "inter": ADS,
        "user": "user_id:token gender:token age:token",
        "item": "ad_id:token ad_title:token_seq ad_keyword:token_seq ad_description:token_seq",
    },
}
CODES = {"gender": {"kdd2012": "12"}, "age": {"ml-1m": ["1", "56"], "tiny": ["18", "35"], "kdd2012": "16"}}
NUMBERS = {"rating": [1, 5], "stars": [1, 5], "play_hours": [0.5, 9], "click": [0, 1]}


def value(name, field, kind, row):
    """Something that the field may hold; ratings lie on both sides of the threshold."""
    if field in NUMBERS:
        return str(NUMBERS[field][row % 3 % 2])
    if field in ("gender", "age", "occupation"):
        return str((CODES.get(field, {}).get(name) or ("FM" if field == "gender" else "12"))[row % 2])
    return {"float": str(row), "token_seq": f"{field} {row % 3}"}.get(kind, f"{field}{row % 4}")


def write(folder, name, properties):
    """A folder of the documented header: 8 users, 8 items, a row for every pair."""
    header = HEADERS[name]
    ids = {"user": properties.get("USER_ID_FIELD", "user_id"), "item": properties.get("ITEM_ID_FIELD", "item_id")}
    in_file = {new: old for old, new in properties.get("rename_fields", {}).get("item", {}).items()}
    pairs = list(itertools.product(range(8), range(8)))

    def lines(source, rows):
        fields = [field.split(":") for field in header[source].split()]
        yield "\t".join(header[source].split())
        for row, (user, item) in enumerate(rows):
            own = {ids["user"]: f"u{user}", ids["item"]: f"i{item}"}
            own |= {in_file.get(ids["item"], ids["item"]): f"i{item}"} if source == "item" else {}
            yield "\t".join(own.get(field) or value(name, field, kind, row) for field, kind in fields)

    (folder / name).mkdir()
    parts = [f".{part}" for part in properties.get("benchmark_filename", ())]
    for part in ["", *parts]:
        (folder / name / f"{name}{part}.inter").write_text("\n".join(lines("inter", pairs)) + "\n")
    for source in set(header) - {"inter"}:
        (folder / name / f"{name}.{source}").write_text(
            "\n".join(lines(source, [(n, n) for n in range(8)])) + "\n"
        )


def test_every_property_file_has_a_header_here():
    assert {file.stem for file in PROPS.glob("*.yaml")} - {"ml-100k"} == set(HEADERS)


@pytest.mark.parametrize("name", HEADERS)
def test_fields_of_a_property_file_are_in_the_header(name):
    properties = read_yaml(PROPS / f"{name}.yaml")
    kinds = {}
    for source, header in HEADERS[name].items():
        fields = dict(field.split(":") for field in header.split())
        for old, new in properties.get("rename_fields", {}).get(source, {}).items():
            fields[new] = fields.pop(old)
        wanted = properties["load_col"].get(source, [])
        assert set(fields if wanted == "*" else wanted) <= set(fields)
        kinds.update({field: kind for field, kind in fields.items() if wanted == "*" or field in wanted})
    for setting in ("text_fields", "whole_text_fields", "value_labels", "threshold", "val_interval", "seq_len"):
        assert set(properties.get(setting) or ()) <= set(kinds), setting
    assert all(
        kinds[field] == "float"
        for field in (*properties.get("threshold", ()), *properties.get("val_interval", ()))
    )
    assert all(kinds[field] == "token_seq" for field in properties.get("seq_len") or ())
    split = {field for field in properties["text_fields"] if kinds[field] == "token_seq"}
    whole = ("whole_text_fields", "text_only_fields", "seq_len")
    assert split <= {"genre", *(field for setting in whole for field in properties.get(setting, ()))}


@pytest.mark.parametrize("name", HEADERS)
def test_a_folder_of_the_documented_header_is_read_and_told_in_words(tmp_path, make_config, name):
    properties = read_yaml(PROPS / f"{name}.yaml")
    write(tmp_path, name, properties)
    # so few rows have both classes in each part only in parts of some size, and not by time
    order = {"split": {"RS": [2, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"}
    config = make_config(dataset=name, data_path=str(tmp_path), eval_args=order)
    train = data_preparation(config, create_dataset(config))[0]._dataset
    rows = train.inter_feat
    sentence = train.textualizer().sentence({key: int(rows[key][0]) for key in rows.columns})
    words = [part.partition(" is ")[0] for part in sentence.split(". ")]
    assert words == list(properties["text_fields"].values()), sentence
