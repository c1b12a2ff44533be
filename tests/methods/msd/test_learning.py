"""Planted tasks: what only the text of an item, or only its relation to earlier clicks, can tell."""

import random

import pytest
from recbole.quick_start import run_recbole

from tests.methods.msd.students import save_student

NAMES = ["amber", "birch", "cedar", "dune", "ember", "fern", "grove", "heath", "iris", "juniper", "kelp", "lotus"]
RUN = {
    "gpu_id": "", "show_progress": False, "student_num_layers": None, "lora_layers": None, "embedding_size": 8,
    "adaptor_size": 32, "metrics": ["AUC", "LogLoss"], "valid_metric": "AUC", "save_predictions": False,
    "baselines": False, "learning_rate": 0.01, "plm_learning_rate": 0.001, "weight_decay": 0.0, "backbone": "DNN",
    "mlp_hidden_size": [32], "dropout_prob": 0.0, "train_batch_size": 256, "micro_batch_size": 256,
    "LABEL_FIELD": "label", "whole_text_fields": ["title"], "text_fields": {"title": "title"},
    "unused_col": {"inter": ["timestamp"]},
    "load_col": {"inter": ["user_id", "item_id", "label", "timestamp"], "item": ["item_id", "title"]},
}  # fmt: skip


def auc(folder, dataset, model="MSD", **settings):
    if model != "MSD":
        own = ("student", "lora_layers", "adaptor_size", "user_knowledge")
        settings = {name: value for name, value in settings.items() if not name.startswith(own)}
    given = {**RUN, "data_path": str(folder), **settings}
    return run_recbole(model=model, dataset=dataset, config_dict=given)["test_result"]["auc"]


def write(folder, rows, titles):
    folder.mkdir()
    inter = [f"u{user}\ti{item}\t{label}\t{time}" for time, (user, item, label) in enumerate(rows)]
    head = "user_id:token\titem_id:token\tlabel:float\ttimestamp:float"
    (folder / f"{folder.name}.inter").write_text("\n".join([head, *inter, ""]))
    items = [f"i{item}\t{title}" for item, title in titles.items()]
    (folder / f"{folder.name}.item").write_text("\n".join(["item_id:token\ttitle:token", *items, ""]))
    return folder.parent


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("reader"), [*NAMES, "bright dark title"], layers=2)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The label says whether the title has the word bright; users and ids say nothing."""
    draw = random.Random(0)
    titles = {}
    for item in range(240):
        title = [*draw.sample(NAMES, 3), draw.choice(["bright", "dark"])]
        draw.shuffle(title)
        titles[item] = " ".join(title)
    rows = [(draw.randrange(30), draw.randrange(240)) for _ in range(3000)]
    labeled = [(user, item, int("bright" in titles[item])) for user, item in rows]
    return write(tmp_path_factory.mktemp("data") / "words", labeled, titles)


def test_a_word_in_the_texts_of_new_items_is_learned_and_ids_know_nothing_of_them(words, reader):
    # Titles are fields of the backbone too, each a value of its own, which new items do not share
    given = {"student": str(reader), "cold_start": "item_id", "epochs": 4, "user_knowledge": "none"}
    alone = {"fusion": "none", "history_length": None}
    assert auc(words, "words", **given, **alone) > 0.9
    assert 0.35 < auc(words, "words", **given, **alone, shuffle_text=True) < 0.65
    assert (
        0.35
        < auc(words, "words", "ClickPromptNoPLM", cold_start="item_id", epochs=4, train_stage="finetune")
        < 0.65
    )


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    """The label says whether the topic of the item, a word of its title, is that of the user's first clicks.

    Users come one after another, so those of validation and test rows are new.
    """
    draw = random.Random(1)
    topic_of = {item: item % 4 for item in range(40)}
    titles = {item: f"{NAMES[topic]} {draw.choice(NAMES[4:])}" for item, topic in topic_of.items()}
    rows = []
    for user in range(500):
        topic = draw.randrange(4)
        same = [item for item in topic_of if topic_of[item] == topic]
        others = [item for item in topic_of if topic_of[item] != topic]
        shown = draw.sample(same, 5)
        rest = [(item, 1) for item in shown[2:]] + [(item, 0) for item in draw.sample(others, 3)]
        rows += [(user, item, 1) for item in shown[:2]]
        rows += [(user, item, label) for item, label in draw.sample(rest, 6)]
    return write(tmp_path_factory.mktemp("data") / "topics", rows, titles)


def test_near_items_show_whether_the_target_is_like_an_earlier_click(topics, reader):
    given = {"student": str(reader), "user_knowledge": "none", "epochs": 8}
    assert auc(topics, "topics", **given, history_length=5, near_items=1) > 0.85
    assert auc(topics, "topics", **given, fusion="none", history_length=None) < 0.65
