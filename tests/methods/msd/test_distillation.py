"""The stage of distillation: what is learned, and that nothing but its inputs decides it."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch
import transformers as tf
from recbole.quick_start import run_recbole

from recbole_clickprompt.errors import DataError, SettingError, WeightsError
from recbole_clickprompt.evaluation.history import history_beside, read_epochs
from recbole_clickprompt.host.knowledge_subjects import subjects_of
from recbole_clickprompt.knowledge.embedded import find_knowledge
from recbole_clickprompt.knowledge.records import Record
from recbole_clickprompt.methods.msd.distillation import Distillation
from recbole_clickprompt.methods.text_vectors.answers import with_phrases
from recbole_clickprompt.plm.generative import load_generative
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components, read_inputs
from recbole_clickprompt.trainer.stage import TrainingStage
from recbole_clickprompt.trainer.stages import load_stage_model, run_stage
from tests.ranks import on_ranks
from tests.trainer.whole_run import differing, in_child

from .distilled_method import METHOD, SETTINGS, prepared, student_folder

STAGE = Distillation()


def distill(report=lambda *_: None, **settings):
    """The checkpoint of a distillation with these settings."""
    config, data = prepared(**settings)
    return run_stage(STAGE, config, data[0], data[1], allowed=("distill",), show_progress=False, report=report)


def built(**settings):
    config, data = prepared(**settings)
    examples = STAGE.training_rows(config, data[0], data[1])
    torch.manual_seed(1)
    return config, STAGE.build(config, examples), examples


def weights(path):
    model = torch.nn.Module()
    model.student = load_generative(student_folder()).model
    load_components(model, path, ("student",))  # as the method's own model loads them, tied head included
    return {name: tensor.clone() for name, tensor in model.student.state_dict().items()}


def batch(examples, numbers):
    return examples[torch.tensor(numbers)]


def test_one_step_lowers_the_loss_and_makes_the_answers_likelier():
    _, model, examples = built()
    model.begin_batch(0, 0)
    ((part, weight),) = model.split(batch(examples, range(8)), 64)
    assert weight == 1
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    before = model.calculate_loss(part)
    before.backward()
    optimizer.step()
    after = model.calculate_loss(part).item()
    assert after < before.item()

    def probability():
        return [
            torch.exp(-model.calculate_loss(model.select(part, torch.tensor([n]))[0])).item() for n in range(8)
        ]

    raised = probability()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1e-2 * p.grad)  # back to where it was
    assert sum(raised) > sum(probability())


def test_the_parts_of_a_batch_and_their_size_do_not_change_its_gradient():
    _, model, examples = built()
    model.begin_batch(0, 0)
    rows = batch(examples, range(11))
    gradients, losses = [], []
    for size in (64, 4, 1):
        model.zero_grad()
        total = 0.0
        for part, weight in model.split(rows, size):
            loss = weight * model.calculate_loss(part)
            loss.backward()
            total += loss.item()
        losses.append(total)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    inputs, targets = ([held[n] for n in range(11)] for held in (model._inputs, model._targets))
    tokens = sum(map(len, targets))
    alone = sum(
        model.calculate_loss(model._parts([x], [y], 1)[0][0]).item() * len(y)
        for x, y in zip(inputs, targets, strict=True)
    )
    assert losses == pytest.approx([alone / tokens] * 3, abs=1e-5)  # sum over tokens / tokens of the whole batch
    for other in gradients[1:]:
        torch.testing.assert_close(gradients[0], other, rtol=1e-4, atol=1e-6)


def test_the_end_is_learned_and_a_cut_answer_has_none():
    _, model, _ = built()
    model.begin_batch(0, 0)
    end = model.tokenizer.eos_token_id
    assert end == model.tokenizer.pad_token_id
    assert all(target[-1] == end and target.count(end) == 1 for target in model._targets)
    _, short, _ = built(distill_answer_length=20)
    short.begin_batch(0, 0)
    assert all(len(target) == 20 and end not in target for target in short._targets)
    # a student that was trained for long on one answer writes it, and stops
    few, _ = model._parts(model._inputs[:1], model._targets[:1], 1)[0]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        model.calculate_loss(few).backward()
        optimizer.step()
    from recbole_clickprompt.methods.msd.generation import write_answers

    (written,) = write_answers(model.student.eval(), model.tokenizer, few.inputs, max_tokens=250)
    assert written.ended
    likely = few.targets[0][0]
    allowed = torch.tensor([token for token in model.candidates.tolist() if token != likely])
    (other,) = write_answers(model.student, model.tokenizer, few.inputs, max_tokens=20, candidates=allowed)
    assert set(model.tokenizer(other.text, add_special_tokens=False)["input_ids"]) <= set(allowed.tolist())
    assert written.text == model.tokenizer.decode(few.targets[0][:-1])
    assert written.tokens == len(few.targets[0]) - 1


def test_candidates_are_the_tokens_of_all_answers_whatever_the_order_of_phrases():
    _, model, examples = built()
    answers = [*examples.training, *examples.dev]
    tokens = {token for target in model._given_tokens(answers) for token in target}
    assert model.candidates.tolist() == sorted(tokens)
    for epoch in range(3):
        model.begin_batch(epoch, 0)
        for part, _ in model.split(batch(examples, range(8)), 4):
            assert torch.isfinite(model.calculate_loss(part))
    _, whole, _ = built(distill_candidates="plm")
    assert whole.candidates is None
    assert whole.dev_loss(8) > model.dev_loss(8)


def test_the_student_reads_items_of_training_rows_and_held_out_ones_are_never_trained_on():
    _, model, examples = built()
    text = model.tokenizer.decode(model._inputs[0])
    assert text.startswith("Item: title is ")
    assert text.endswith(".\nReasoning:")
    assert "ID" not in text
    train, dev = ({e.key for e in part} for part in (examples.training, examples.dev))
    assert train.isdisjoint(dev)
    assert dev
    _, data = prepared()
    known = set(data[0]._dataset.inter_feat["item_id"].tolist())
    assert train | dev <= {str(data[0]._dataset.id2token("item_id", item)) for item in known}


def test_new_items_are_not_distilled():
    config, data = prepared(cold_start="item_id")
    examples = STAGE.training_rows(config, data[0], data[1])
    tested = {
        str(data[2]._dataset.id2token("item_id", i)) for i in data[2]._dataset.inter_feat["item_id"].tolist()
    }
    assert tested.isdisjoint(e.key for e in (*examples.training, *examples.dev))


def test_smaller_shares_are_subsets_and_held_out_answers_stay():
    sizes = []
    previous = None
    for share in (1.0, 0.5, 0.25):
        config, data = prepared(distill_share=share)
        examples = STAGE.training_rows(config, data[0], data[1])
        keys = {e.key for e in examples.training}
        if previous is not None:
            assert keys < previous[0]
            assert examples.dev == previous[1]
        previous = keys, examples.dev
        sizes.append(len(keys))
    assert sizes[1] == round(sizes[0] / 2)
    assert sizes[2] == round(sizes[0] / 4)


def test_equal_seeds_give_equal_weights_and_other_seeds_others():
    first, again = distill(checkpoint_dir="a"), distill(checkpoint_dir="b")
    other = distill(checkpoint_dir="c", seed=7)
    assert differing(weights(first), weights(again)) == []
    assert differing(weights(first), weights(other))


def test_runs_of_several_seeds_can_share_a_student():
    path = distill(distill_seed=3, seed=1)
    assert distill(distill_seed=3, seed=2) == path
    shuffled = distill(distill_seed=3, seed=1, shuffle_knowledge=True)
    assert distill(distill_seed=3, seed=2, shuffle_knowledge=True) == shuffled != path
    other, same = weights(distill(seed=3)), weights(path)
    assert all(torch.equal(other[name], same[name]) for name in other)


def test_it_is_reused_unless_a_byte_of_its_inputs_differs():
    Path("mine.jsonl").write_bytes(find_knowledge("tiny-items").read_bytes())
    settings = {"knowledge": ["mine.jsonl"], "distill_epochs": 1}
    epochs = []
    path = distill(lambda *row: epochs.append(row), **settings)
    written = path.stat().st_mtime_ns
    assert distill(lambda *row: epochs.append(row), **settings, backbone="DNN", learning_rate=0.1) == path
    assert path.stat().st_mtime_ns == written
    assert epochs[0] == epochs[1]  # curves of a reused result are reported too
    assert set(epochs[0][1]) == {"distill_loss", "distill_accuracy", "distill_valid_loss"}
    Path("same.jsonl").write_text(Path("mine.jsonl").read_text() + "\n")
    assert distill(**{**settings, "knowledge": ["same.jsonl"]}) != path
    Path("mine.jsonl").write_text(Path("mine.jsonl").read_text().replace("cheerful", "Cheerful", 1))
    changed = distill(**settings)
    assert changed != path
    Path("words.jsonl").write_text(json.dumps({"phrase": "happy ending", "same": ["good ending"]}))
    with_dictionary = distill(**settings, phrase_dictionary="words.jsonl")
    Path("words.jsonl").write_text(json.dumps({"phrase": "happy ending", "same": ["nice ending"]}))
    with_other = distill(**settings, phrase_dictionary="words.jsonl")
    built_dictionary = distill(**settings, phrase_dictionary="auto")
    texts = distill(**settings, text_fields={"title": "title"})
    student = distill(**settings, student=student_folder("llama", 3))
    found = {path, changed, with_dictionary, with_other, built_dictionary, texts, student}
    found |= {distill(**settings, **{name: value}) for name, value in {
        "student_num_layers": 1, "distill_target": "phrases", "distill_candidates": "plm",
        "shuffle_phrases": False, "distill_share": 0.5,
        "distill_learning_rate": 1e-4, "max_text_length": 30, "distill_answer_length": 30, "seed": 5,
    }.items()}  # fmt: skip
    assert len(found) == 16


def test_inputs_are_all_settings_of_distillation():
    config, data = prepared()
    inputs = STAGE.inputs(config, STAGE.training_rows(config, data[0], data[1]))
    assert set(inputs["settings"]) == {
        "distill_epochs", "distill_batch_size", "distill_learning_rate", "distill_weight_decay",
        "distill_warmup_ratio", "distill_patience", "distill_share", "distill_target", "distill_answer_length",
        "distill_candidates",
        "shuffle_phrases", "shuffle_knowledge", "phrase_replace_rate", "student_num_layers", "max_text_length",
        "seed", "shuffle", "clip_grad_norm", "enable_amp",
    }  # fmt: skip
    assert set(inputs) == {
        "settings", "knowledge", "examples", "dictionary", "student_weights", "student_files",
    }  # fmt: skip


# Few answers at a high rate, so that the held-out loss soon rises
OVERFITTED = {"distill_share": 0.3, "distill_learning_rate": 0.03, "distill_warmup_ratio": 0.0}


def test_the_best_epoch_is_kept_and_patience_ends_the_stage():
    losses = []
    path = distill(
        lambda epoch, metrics: losses.append(metrics["distill_valid_loss"]),
        distill_epochs=30, distill_patience=2, **OVERFITTED,
    )  # fmt: skip
    assert len(losses) < 30
    assert 0 < losses.index(min(losses)) == len(losses) - 3
    config, data = prepared()
    examples = STAGE.training_rows(config, data[0], data[1])
    best = load_stage_model(STAGE, config, examples, path)
    assert best.dev_loss(64) == pytest.approx(min(losses), abs=1e-5)
    assert [line["distill_valid_loss"] for line in read_epochs(history_beside(path))] == losses
    assert read_inputs(path)["settings"]["distill_patience"] == 2


KILLED = {"distill_epochs": 30, "distill_patience": 3, **OVERFITTED}


@pytest.mark.parametrize("step", [1, 13])
def test_a_killed_distillation_resumes_to_the_same_weights(monkeypatch, step):
    whole = []
    path = distill(lambda *row: whole.append(row), checkpoint_dir="whole", **KILLED)
    train_batch = TrainingStage.train_batch

    def deadly(self, rows):
        if self.scheduler.last_epoch == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_batch(self, rows)

    killed = {**KILLED, "checkpoint_dir": "killed", "checkpoint_minutes": 1e-9}
    with monkeypatch.context() as patch:
        patch.setattr(TrainingStage, "train_batch", deadly)
        assert in_child(lambda: distill(**killed), Path("answer")) == -signal.SIGKILL
    resumed = []
    again = distill(lambda *row: resumed.append(row), **killed, resume="auto")
    assert differing(weights(path), weights(again)) == []
    assert resumed == whole[-len(resumed) :]
    assert not list(Path("killed").glob("*.resume"))


def test_a_stop_signal_while_the_student_is_validated(monkeypatch):
    path = distill(checkpoint_dir="whole", **KILLED)
    validate = Distillation.validate
    calls = []

    def interrupted(self, config, model, dataset):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, config, model, dataset)

    with monkeypatch.context() as patch:
        patch.setattr(Distillation, "validate", interrupted)
        assert in_child(lambda: distill(checkpoint_dir="stopped", **KILLED), Path("answer")) == 143
    again = distill(checkpoint_dir="stopped", resume="auto", **KILLED)
    assert differing(weights(path), weights(again)) == []


def test_a_damaged_best_state_is_refused(monkeypatch):
    from recbole_clickprompt.trainer.best_weights import BestWeights

    best = BestWeights(2)
    model = torch.nn.Linear(2, 2)
    best.update(0, 1.0, model, stage="distill")
    state = best.state()
    with pytest.raises(WeightsError, match="no best weights of this model"):
        BestWeights(2).restore({**state, "weights": {"weight": torch.zeros(3)}}, model, Path("a.resume"))
    with pytest.raises(WeightsError, match="no best weights of this model"):
        BestWeights(2).restore(None, model, Path("a.resume"))


def ranks(settings):
    losses = []
    path = distill(lambda epoch, metrics: losses.append(metrics), **settings)
    return losses, {name: tensor.numpy() for name, tensor in weights(path).items()}, json.loads(
        path.with_name(f"{path.stem}.f1.json").read_text()
    )  # fmt: skip


def test_two_ranks_learn_what_one_learns():
    settings = {"distill_evaluated": 5, "distill_answer_length": 40, "student": student_folder()}
    (alone,) = on_ranks(ranks, {**settings, "checkpoint_dir": "one"}, world=1)
    both = on_ranks(ranks, {**settings, "checkpoint_dir": "two"}, world=2)
    assert both[0][0] == both[1][0]
    for one, two in zip(alone[0], both[0][0], strict=True):
        assert two == pytest.approx(one, rel=1e-3)
    for name, expected in alone[1].items():
        assert abs(both[0][1][name] - expected).max() < 2e-3, name
    assert both[0][2] == both[1][2]
    assert both[0][2]["answers"] == alone[2]["answers"] == 5


@pytest.mark.parametrize("family", ["t5", "gpt2", "qwen2"])
def test_students_of_other_families(family):
    path = distill(student=student_folder(family), distill_evaluated=2, distill_answer_length=60)
    config, data = prepared(student=student_folder(family))
    examples = STAGE.training_rows(config, data[0], data[1])
    before = STAGE.build(config, examples).dev_loss(64)
    assert load_stage_model(STAGE, config, examples, path).dev_loss(64) < before


def test_in_bf16():
    losses = []
    distill(lambda epoch, metrics: losses.append(metrics), enable_amp=True)
    exact = []
    distill(lambda epoch, metrics: exact.append(metrics))
    assert losses[-1]["distill_loss"] == pytest.approx(exact[-1]["distill_loss"], rel=2e-2)
    assert losses != exact


@pytest.mark.parametrize("undistilled", [{"distill_epochs": 0}, {"distill_share": 0.0}])
def test_without_epochs_or_answers_the_result_is_the_student_itself(undistilled):
    path = distill(**undistilled)
    original = load_generative(student_folder()).model.state_dict()
    assert differing(weights(path), dict(original)) == []


def test_a_run_starts_from_the_student_and_has_its_curves():
    settings = {**SETTINGS, "student": student_folder(), "distill_evaluated": 3, "distill_answer_length": 40}
    run_recbole(model="Distilled", dataset="tiny", config_dict=settings)
    (path,) = Path("saved").glob("tiny-student-*.safetensors")
    assert METHOD.start == path
    (run,) = Path("saved").glob("Distilled-*/history.jsonl")
    assert [line["stage"] for line in read_epochs(run)] == ["distill", "distill", "finetune"]
    assert path.with_name(f"{path.stem}.f1.json").exists()
    first, last, _ = read_epochs(run)
    assert {"distill_loss", "distill_accuracy", "distill_valid_loss"} <= first.keys() < last.keys()
    assert last.keys() - first.keys() == {"phrase_f1", "phrase_f1_above_chance"}


def test_the_stage_alone_gives_loss_and_f1():
    settings = {**SETTINGS, "student": student_folder(), "distill_evaluated": 3, "distill_answer_length": 40}
    settings |= {"train_stage": "distill", "valid_metric": "LogLoss"}
    result = run_recbole(model="Distilled", dataset="tiny", config_dict=settings)
    found = result["best_valid_result"]
    assert result["best_valid_score"] == pytest.approx(found["distill_valid_loss"])
    assert {"phrase_f1", "phrase_f1_chance", "parse_rate"} <= set(found)


def test_answers_about_users_are_distilled_with_their_profiles():
    Path("users.jsonl").write_text(
        "".join(
            json.dumps({"user_id": f"u{n}", "reasoning": "r", "explicit": ["a"], "implicit": ["b"]}) + "\n"
            for n in range(5)
        )
    )
    config, data = prepared(knowledge=["tiny-items", "users.jsonl"], user_knowledge="static")
    examples = STAGE.training_rows(config, data[0], data[1])
    found = {e.key: e.text for e in (*examples.training, *examples.dev) if e.level == "user"}
    assert found.keys() <= {f"u{n}" for n in range(5)}
    assert found
    assert all(" is " in text and "ID" not in text for text in found.values())
    model = STAGE.build(config, examples)
    texts = [model.tokenizer.decode(tokens) for tokens in model._inputs]
    assert sum(text.startswith("Profile: ") for text in texts) == sum(e.level == "user" for e in examples.training)


@pytest.mark.parametrize(
    ("answers", "settings", "message"),
    [
        ({"user_id": "u1"}, {"user_knowledge": "blocks"}, r"about 'u1' and others, not about 'u\d+@\d'.*teach"),
        ({"user_id": "u1", "block": 4}, {"user_knowledge": "static"}, "about 'u1@4' and others, not about 'u"),
        ({"item_id": "other"}, {}, "none of the 1 answers about items is about one of the .* 'other' and others"),
    ],
)
def test_answers_of_which_none_is_about_what_is_read_are_refused(answers, settings, message):
    """They were asked about users themselves, say, and the run reads profiles as of blocks."""
    answer = {"reasoning": "r", "explicit": ["a"], "implicit": ["b"]}
    Path("others.jsonl").write_text(json.dumps({**answers, **answer}) + "\n")
    names = ["others.jsonl"] if "item_id" in answers else ["tiny-items", "others.jsonl"]
    config, data = prepared(knowledge=names, **settings)
    with pytest.raises(DataError, match=message):
        STAGE.training_rows(config, data[0], data[1])


@pytest.mark.parametrize(
    ("settings", "enabled"),
    [
        ({"distill_epochs": 1}, True),
        ({"distill_epochs": 0, "distill_evaluated": 5}, True),
        ({"distill_share": 0.0, "distill_evaluated": 5}, True),
        ({"distill_epochs": 0, "distill_evaluated": 0}, False),
        ({"distill_share": 0.0, "distill_evaluated": 0}, False),
    ],
)
def test_without_anything_to_distill_or_evaluate_the_stage_is_left_out(settings, enabled):
    """So texts may contain answers that are too few to distill, such as those about new items alone."""
    assert STAGE.is_enabled({**SETTINGS, "knowledge": ["tiny-items"], "distill_share": 1.0, **settings}) is enabled


def test_answers_about_other_texts_are_refused():
    """Such as profiles as of other blocks: ``u1@2`` would show clicks that came later."""
    settings = {"user_knowledge": "blocks", "user_blocks": 4}
    answer = {"reasoning": "r", "explicit": ["a"], "implicit": ["b"]}
    plain = [{"user_id": f"u{n}", "block": block, **answer} for n in range(60) for block in range(9)]
    Path("plain.jsonl").write_text("".join(json.dumps(line) + "\n" for line in plain))
    config, data = prepared(knowledge=["plain.jsonl"], **settings)
    asked = [subject for level in ("item", "user") for subject in subjects_of(data[0]._dataset, level)]
    records = [Record(s.key, s.level, s.block, s.text, "0", explicit=("a",), implicit=("b",)) for s in asked]
    Path("full.jsonl").write_text("".join(record.line() for record in records))
    config, data = prepared(knowledge=["full.jsonl"], **settings)
    examples = STAGE.training_rows(config, data[0], data[1])
    assert {e.level for e in examples.training} == {"item", "user"}
    config, data = prepared(knowledge=["full.jsonl"], **{**settings, "user_blocks": 3})
    with pytest.raises(
        DataError, match=r"full.jsonl, line \d+: the answer about 'u\d+@\d' is about another text"
    ) as refused:
        STAGE.training_rows(config, data[0], data[1])
    before, now = re.search(r"text, (.*) instead of (.*); use", str(refused.value)).groups()
    assert before != now  # although long texts begin alike
    config, data = prepared(knowledge=["full.jsonl"], text_fields={"title": "name"})
    with pytest.raises(DataError, match=r"'i\d+' is about another text, 'title is .* instead of 'name"):
        STAGE.training_rows(config, data[0], data[1])
    with pytest.raises(DataError, match="is about another text, 'title is "):
        with_phrases(config, ["", "name is A."], ["[PAD]", "i1"], seed=1)


def test_clear_refusals():
    config, data = prepared(knowledge=None)
    with pytest.raises(SettingError, match="nothing to distill"):
        STAGE.training_rows(config, data[0], data[1])
    Path("other.jsonl").write_text('{"item_id": "x", "reasoning": "r", "explicit": ["a"], "implicit": ["b"]}\n')
    with pytest.raises(DataError, match=r"other.jsonl: none of the 1 answers about items is about one of the 64"):
        distill(knowledge=["other.jsonl"])
    with pytest.raises(
        SettingError, match="max_text_length is 12, but the student needs 11 tokens|max_text_length"
    ):
        distill(max_text_length=11)
    with pytest.raises(DataError, match="nowhere.jsonl cannot be read"):
        distill(phrase_dictionary="nowhere.jsonl")
    with pytest.raises(SettingError, match="no field of items"):
        distill(text_fields={"gender": "gender"})
    with pytest.raises(SettingError, match="distill_share must be"):
        prepared(distill_share=1.5)


def test_transformers_knows_the_student(tmp_path):
    path = distill()
    config, data = prepared()
    model = load_stage_model(STAGE, config, STAGE.training_rows(config, data[0], data[1]), path)
    model.student.save_pretrained(tmp_path)
    again = tf.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(4, 14)[None]
    assert torch.equal(again(ids).logits, model.student.eval()(ids).logits)
