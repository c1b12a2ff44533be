"""A warm start reads only texts that are new or have changed: the earlier run has the vectors of the others."""

from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole

from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.methods.msd import encoding, frozen_states
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.days import SETTINGS, write_day
from tests.methods.msd.students import SETTINGS as STUDENT

NEW_TITLE = "Haunted Silent Bitter Road"  # words that the student knows


class Began(Exception):
    """Ends a run when its training is about to begin."""


def items(day):
    """By item, the columns that its text is made of."""
    lines = Path(f"data/{day}/{day}.item").read_text().splitlines()[1:]
    return {line.split("\t")[0]: line.split("\t")[1:] for line in lines}


@pytest.fixture
def days(student):
    """Two days; on the second one, an item of the first one has another title."""
    write_day("monday")
    write_day("tuesday", 400, reverse=True)
    file, (item, (title, *_)) = Path("data/tuesday/tuesday.item"), next(iter(items("monday").items()))
    file.write_text(file.read_text().replace(f"{item}\t{title}\t", f"{item}\t{NEW_TITLE}\t"))
    return {
        **STUDENT, **SETTINGS, "student": str(student), "baselines": False, "save_predictions": False, "epochs": 1,
    }  # fmt: skip


def distinct(hashes):
    return {row.tobytes() for row in hashes.numpy()}


@pytest.mark.parametrize("train_texts", ["targets", "none"])
@pytest.mark.parametrize("lora_layers", [1, None])
def test_only_new_and_changed_texts_are_encoded(days, monkeypatch, train_texts, lora_layers):
    settings = {**days, "train_texts": train_texts, "lora_layers": lora_layers}
    result = run_recbole(model="MSD", dataset="monday", config_dict=settings)
    read = {"all layers": 0, "frozen layers": 0}
    encode, encode_lower = encoding.encode, frozen_states._encode

    def counted(encoder, tokens, texts, *states):
        read["all layers"] += len(texts)
        return encode(encoder, tokens, texts, *states)

    def counted_lower(encoder, texts, wanted, *out, **options):
        read["frozen layers"] += len(wanted)
        encode_lower(encoder, texts, wanted, *out, **options)

    def stop(stage, *_, **__):
        raise Began(stage.model)

    monkeypatch.setattr(encoding, "encode", counted)
    monkeypatch.setattr(frozen_states, "_encode", counted_lower)
    monkeypatch.setattr(TrainingStage, "train_epoch", stop)
    with pytest.raises(Began) as began:
        run_recbole(model="MSD", dataset="tuesday", config_dict={**settings, "warm_start": result["checkpoint"]})
    levels = began.value.args[0].texts.named_levels()
    saved = torch.load(result["checkpoint"])["state_dict"]
    texts = {name: distinct(level.text_hashes) for name, level in levels.items()}
    new = {name: texts[name] - distinct(saved[f"texts.levels.{name}.text_hashes"]) for name in texts}
    assert sorted(new) == ["item", "user"]
    assert 10 < len(new["item"]) < len(texts["item"]) / 2
    number = sum(map(len, new.values()))
    assert read == {"all layers": number, "frozen layers": number if lora_layers else 0}
    item = next(iter(items("monday")))
    assert items("tuesday")[item][0] == NEW_TITLE


def test_the_vectors_that_a_trained_student_leaves_are_those_of_its_weights(days):
    settings = {**days, "train_texts": "all", "epochs": 2}
    monday = run_recbole(model="MSD", dataset="monday", config_dict=settings)
    tuesday = run_recbole(
        model="MSD", dataset="tuesday", config_dict={**settings, "warm_start": monday["checkpoint"]}
    )
    model = restore(Path(tuesday["checkpoint"]), device=torch.device("cpu")).model
    stored = {name: level.vectors.rows.clone() for name, level in model.texts.named_levels().items()}
    model.texts.refresh()  # reads all texts
    for name, level in model.texts.named_levels().items():
        assert torch.allclose(level.vectors.rows, stored[name], atol=1e-5)


@pytest.mark.parametrize(
    ("monday", "tuesday"),
    [
        ({"student_pooling": "mean"}, {"student_pooling": "last"}),
        ({"vectors": "random"}, {"vectors": "student"}),
        ({"vectors": "student"}, {"vectors": "random"}),
        ({"enable_amp": False}, {"enable_amp": True}),
    ],
)
def test_vectors_that_were_made_with_other_settings_are_computed_again(days, monday, tuesday):
    settings = {**days, "train_texts": "none"}
    earlier = run_recbole(model="MSD", dataset="monday", config_dict={**settings, **monday})["checkpoint"]
    settings = {**settings, **tuesday, "warm_start": earlier}
    run = run_recbole(model="MSD", dataset="tuesday", config_dict=settings)["checkpoint"]
    model = restore(Path(run), device=torch.device("cpu")).model
    stored = {name: level.vectors.rows.clone() for name, level in model.texts.named_levels().items()}
    model.texts.refresh()  # reads all texts
    for name, level in model.texts.named_levels().items():
        assert torch.allclose(level.vectors.rows, stored[name], atol=1e-5), name
