"""kill -9 at any moment of either stage, and the same result in the end, bit for bit."""

import os
import random
import signal
from pathlib import Path

import pytest
import torch

from recbole_clickprompt.trainer import checkpoint, resume
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.trainer.whole_run import RUN, differing, in_child, whole_run

pytestmark = pytest.mark.slow


class Moments:
    """Counts the moments at which a process can be killed, and kills it at one of them."""

    def __init__(self, monkeypatch, deadly=None):
        self.deadly, self.count, self.names = deadly, 0, []
        wrap = lambda owner, name, moment: monkeypatch.setattr(owner, name, self.around(owner, name, moment))  # noqa: E731
        wrap(TrainingStage, "train_batch", "step")
        wrap(torch.optim.AdamW, "step", "optimiser")
        wrap(os, "fsync", "written, not yet renamed")
        wrap(os, "replace", "rename")
        wrap(resume.ResumeCheckpointer, "remove", "end of a stage")
        save = checkpoint.torch.save
        monkeypatch.setattr(checkpoint.torch, "save", lambda state, stream: self.in_halves(save, state, stream))
        ticks = iter(range(1_000_000))
        monkeypatch.setattr(resume, "monotonic", lambda: 60.0 * next(ticks))  # a minute passes at each look

    def pass_by(self, name):
        self.count += 1
        self.names.append(name)
        if self.count == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner, name, moment):
        original = getattr(owner, name)

        def wrapped(*args, **kwargs):
            self.pass_by(f"before {moment}")
            result = original(*args, **kwargs)
            self.pass_by(f"after {moment}")
            return result

        return wrapped

    def in_halves(self, save, state, stream):
        if isinstance(stream, (str, Path)):
            return save(state, stream)
        save(state, stream)
        size = stream.tell()
        stream.truncate(size // 2)
        stream.flush()
        self.pass_by("half a file")
        stream.seek(0)
        stream.truncate()
        return save(state, stream)


@pytest.fixture(scope="module")
def prepared(make_config, make_data):
    # Four batches an epoch, of which the last is not full
    settings = {**RUN, "checkpoint_minutes": 4, "train_rows": 400, "pretrain_rows": 400}
    data = make_data(make_config(**settings))
    return lambda folder, **more: (make_config(checkpoint_dir=str(folder), **settings, **more), data)


def attempt(monkeypatch, prepared, folder, deadly, **settings):
    """Runs until the deadly moment or to the end; the answer is in ``folder/answer.pt``."""

    def work():
        moments = Moments(monkeypatch, deadly)
        outcome = whole_run(*prepared(folder, **settings))
        return {"outcome": outcome, "moments": moments.names}

    folder.mkdir(exist_ok=True)
    return in_child(work, folder / "answer.pt")


def test_a_run_killed_at_20_moments_ends_as_an_unbroken_one(prepared, monkeypatch, tmp_path):
    unbroken = tmp_path / "unbroken"
    assert attempt(monkeypatch, prepared, unbroken, None) == 0
    expected = torch.load(unbroken / "answer.pt")
    draw, kills, runs, farthest = random.Random(7), 0, 0, 3 * len(expected["moments"]) // 4
    while kills < 20:
        folder = tmp_path / f"killed{runs}"
        status = -signal.SIGKILL
        while status == -signal.SIGKILL:
            deadly = draw.randrange(1, farthest) if kills < 20 else None
            status = attempt(monkeypatch, prepared, folder, deadly, resume="auto")
            kills += status == -signal.SIGKILL
        error = folder / "answer.error"
        assert status == 0, error.read_text() if error.exists() else status
        assert differing(torch.load(folder / "answer.pt")["outcome"], expected["outcome"]) == []
        leftovers = [path.name for path in folder.iterdir() if path.suffix in (".resume", ".partial")]
        assert leftovers == []
        runs += 1
    assert runs > 1
