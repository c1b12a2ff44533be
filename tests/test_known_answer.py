"""Data whose answer is known: where only text can tell, the PLM must; where only ids can, it must not hurt."""

import random
from pathlib import Path

import pytest
from recbole.quick_start import run_recbole

GOOD, BAD = ["Sunny", "Golden", "Merry", "Happy"], ["Grim", "Haunted", "Bitter", "Silent"]
ROWS = 1500


def write(name, title_of, label_of):
    """Films come out one after the other, so those of the test part are new to every model."""
    draw = random.Random(1)
    titles = {item: title_of(item, draw) for item in range(150)}
    rows = []
    for step in range(ROWS):
        user, item = draw.randrange(30), max(0, min(149, step // 10 - draw.randrange(10)))
        label = label_of(user, titles[item]) ^ (draw.random() < 0.05)
        rows.append(f"u{user}\ti{item}\t{int(label)}\t{step}")
    folder = Path("data") / name
    folder.mkdir(parents=True)
    header = "user_id:token\titem_id:token\tlabel:float\ttimestamp:float"
    (folder / f"{name}.inter").write_text("\n".join([header, *rows]) + "\n")
    films = [f"i{item}\t{title}" for item, title in titles.items()]
    (folder / f"{name}.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *films]) + "\n")


def auc_of(model, name, small, **settings):
    result = run_recbole(
        model=model,
        dataset=name,
        config_dict={
            **small,
            "data_path": "data",
            "load_col": {"inter": ["user_id", "item_id", "label", "timestamp"], "item": ["item_id", "title"]},
            "unused_col": {"inter": ["timestamp"]},
            "whole_text_fields": ["title"],
            "text_fields": {"title": "title"},
            "backbone": "DNN",
            "train_stage": "finetune",
            "epochs": 8,
            "learning_rate": 5e-3,
            "plm_learning_rate": 5e-3,
            "stopping_step": 8,
            "micro_batch_size": 64,
            "plm_num_layers": 2,
            **settings,
        },
    )
    return result["test_result"]["auc"]


@pytest.fixture
def semantic():
    write(
        "semantic",
        lambda item, draw: f"{draw.choice(GOOD + BAD)} River {item}",
        lambda user, title: title.split()[0] in GOOD,
    )
    return "semantic"


@pytest.fixture
def collaborative():
    write("collaborative", lambda item, draw: f"River {item}", lambda user, title: user % 2 == 0)
    return "collaborative"


def test_a_word_that_ids_cannot_reveal_is_read_by_the_plm(semantic, small):
    assert auc_of("ClickPromptNoPLM", semantic, small) < 0.65
    assert auc_of("ClickPrompt", semantic, small) > 0.9


def test_what_only_ids_reveal_is_not_lost_by_the_plm(collaborative, small):
    assert auc_of("ClickPromptNoPLM", collaborative, small) > 0.9
    assert auc_of("ClickPrompt", collaborative, small) > 0.9


def test_prompts_alone_carry_ids_into_the_plm(collaborative, small, monkeypatch):
    # The text tells nothing and the backbone's own logit is cut off: what the PLM knows came through prompts
    from recbole_clickprompt.methods.clickprompt.model import ClickPrompt

    monkeypatch.setattr(ClickPrompt, "forward", lambda self, interaction: self.logits(interaction)[1])
    assert auc_of("ClickPrompt", collaborative, small) > 0.9
