"""What a teacher is asked about, and that statistics see training rows only."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from recbole.data import create_dataset

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host.knowledge_subjects import subjects_of, texts_of

_PLAIN = {"backbone": "DNN", "train_stage": "finetune"}


@pytest.fixture(scope="module")
def parts(make_config):
    return create_dataset(make_config("ClickPromptNoPLM", **_PLAIN)).build()


def test_items_have_the_text_of_rows_without_their_id(parts):
    training = parts[0]
    subjects = {subject.key: subject for subject in subjects_of(training, "item")}
    assert set(subjects) == {f"i{n}" for n in range(64)}
    assert {subject.level for subject in subjects.values()} == {"item"}
    row = training[torch.tensor([5])]
    sentence = training.textualizer().sentence({key: int(row[key][0]) for key in ("user_id", "item_id", "device")})
    item = training.id2token("item_id", int(row["item_id"][0]))
    assert sentence.endswith(f"film ID is {item}. {subjects[item].text}")


def test_users_have_their_features_only(parts):
    subjects = subjects_of(parts[0], "user")
    assert len(subjects) == 60
    assert all(subject.text.split(" is ")[0] in ("gender", "age") for subject in subjects)
    assert not any("user ID" in subject.text or "Liked" in subject.text for subject in subjects)


def test_strata_are_first_values_of_the_field_with_the_fewest(parts):
    training = parts[0]
    subjects = subjects_of(training, "item")
    genres = {"Comedy", "Drama", "Thriller", "Sci-Fi", "unknown"}
    assert {subject.stratum for subject in subjects} == genres
    for subject in subjects:
        genre = subject.text.partition("genre is ")[2].rstrip(".").split()
        assert subject.stratum == (genre[0] if genre else "unknown")
    titles = {subject.stratum for subject in subjects_of(training, "item", strata="title")}
    assert len(titles) == 38
    assert {subject.stratum for subject in subjects_of(training, "user", strata="job")} == {
        "painter", "baker", "miner", "poet",
    }  # fmt: skip


def test_users_are_grouped_by_quartiles_of_their_clicks(parts):
    subjects = subjects_of(parts[0], "user")
    groups = {}
    for subject in subjects:
        groups.setdefault(subject.stratum, []).append(subject)
    assert len(groups) == 4
    assert all(8 <= len(members) <= 25 for members in groups.values())
    ranges = sorted(tuple(map(int, name.removesuffix(" clicks").split("-"))) for name in groups)
    assert all(low <= high for low, high in ranges)
    assert all(earlier[1] < later[0] for earlier, later in pairwise(ranges))


@pytest.mark.parametrize(
    ("statistic", "value"), [("rows", "rows"), ("clicks", "clicks"), ("ctr", "ctr"), ("none", "")]
)
def test_weights_count_training_rows_only(parts, statistic, value):
    training = parts[0]
    frame = {name: training.inter_feat[name].numpy() for name in ("item_id", "label")}
    rows = np.bincount(frame["item_id"], minlength=65)
    clicks = np.bincount(frame["item_id"], weights=frame["label"] > 0, minlength=65)
    rate = clicks.sum() / rows.sum()
    expected = {"rows": rows, "clicks": clicks, "ctr": (clicks + 20 * rate) / (rows + 20), "": np.zeros(65)}[value]
    weights = [subject.weight for subject in subjects_of(training, "item", statistic=statistic)]
    assert weights == pytest.approx(np.sqrt(1 + expected[1:]))


def test_test_rows_change_no_weight_and_no_stratum(parts, make_config):
    """The same training rows with other rows in the test part."""
    other = create_dataset(make_config("ClickPromptNoPLM", **_PLAIN)).build()
    other[2].inter_feat["label"][:] = 1 - other[2].inter_feat["label"]
    for level in ("item", "user"):
        assert subjects_of(other[0], level) == subjects_of(parts[0], level)


def test_rows_that_training_does_not_use_do_not_count(make_config):
    training = create_dataset(make_config("ClickPromptNoPLM", **_PLAIN, train_rows=100)).build()[0]
    weights = [subject.weight for subject in subjects_of(training, "item")]
    assert sum(weight**2 - 1 for weight in weights) == pytest.approx(100)


@pytest.mark.parametrize("strata", ["title_", "job", "year", "item_id", "device"])
def test_strata_of_another_kind_are_refused(parts, strata):
    with pytest.raises(
        SettingError, match="--strata must be a field of tokens that belongs to item_id, one of title"
    ):
        subjects_of(parts[0], "item", strata=strata)


def test_a_data_set_without_features_has_nothing_to_ask_about(make_config):
    dataset = create_dataset(
        make_config("ClickPromptNoPLM", **_PLAIN, text_fields={"item_id": "film", "job": "job"})
    )
    training = dataset.build()[0]
    with pytest.raises(
        SettingError, match="text_fields has no field of items other than item_id, so there is no text"
    ):
        subjects_of(training, "item")
    assert texts_of(training, "user")[1].startswith("job is ")


def test_a_profile_is_as_of_its_block(make_config):
    """Nothing of it changes when later clicks change."""
    settings = {**_PLAIN, "user_knowledge": "blocks", "user_blocks": 3, "profile_length": 4}
    parts = create_dataset(make_config("ClickPromptNoPLM", **settings)).build()
    profiles = parts[0].user_profiles
    subjects = subjects_of(parts[0], "user")
    assert len(subjects) <= len(profiles)
    assert {subject.block for subject in subjects} == {0, 1, 2, 3}
    keys = profiles.keys(parts[0].field2id_token["user_id"])
    numbers = {key: number for number, key in enumerate(keys)}
    titles = [text.partition("title is ")[2].partition(". ")[0] for text in texts_of(parts[0], "item")]
    for subject in subjects[:80]:
        items = profiles.items_of(numbers[subject.key])
        named = subject.text.partition("Liked: ")[2]
        assert named.count("; ") == max(0, len(items) - 1)
        assert all(titles[item].removesuffix(".") in named for item in items)
    groups = {}
    for subject in subjects:
        groups.setdefault(subject.key.partition("@")[0], set()).add((subject.stratum, subject.weight))
    assert all(len(group) == 1 for group in groups.values())
