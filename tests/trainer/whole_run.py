"""A run of both stages, and all that tells whether another one was the same."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.utils import get_model, get_trainer, init_seed

RUN: dict[str, Any] = {
    "plm_num_layers": None,
    "train_batch_size": 128,
    "pretrain_batch_size": 128,
    "micro_batch_size": 64,
    "pretrain_epochs": 2,
    "epochs": 3,
    "learning_rate": 1e-2,
    "dropout_prob": 0.1,
    "shuffle": True,
}


def whole_run(config: Any, data: Any) -> dict[str, Any]:
    """Trains and tests; gives what an unbroken run has in the end."""
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    score, result = trainer.fit(data[0], data[1], verbose=False)
    outcome = {
        "last": {name: weight.clone() for name, weight in model.state_dict().items()},
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": trainer._stage.scheduler.state_dict(),
        "losses": dict(trainer.train_loss_dict),
        "cur_step": trainer.cur_step,
        "score": float(score),
        "valid": {name: float(value) for name, value in result.items()},
        "torch": torch.get_rng_state(),
        "order": data[0].generator.get_state(),
        "python": random.random(),
        "numpy": float(np.random.rand()),
    }
    outcome["test"] = {name: float(value) for name, value in trainer.evaluate(data[2]).items()}
    return {**outcome, "best": dict(model.state_dict())}


def differing(ours: Any, theirs: Any, name: str = "") -> list[str]:
    """Names of what differs in a single bit."""
    if isinstance(ours, torch.Tensor):
        return [] if torch.equal(ours, theirs) else [name]
    if isinstance(ours, dict):
        if ours.keys() != theirs.keys():
            return [f"{name}: {sorted(map(str, ours.keys() ^ theirs.keys()))}"]
        return [found for key in ours for found in differing(ours[key], theirs[key], f"{name}.{key}")]
    if isinstance(ours, list | tuple):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [found for i, pair in pairs for found in differing(*pair, f"{name}.{i}")]
    return [] if ours == theirs else [f"{name}: {ours} and {theirs}"]


def in_child(work: Callable[[], Any], answer: Path) -> int:
    """Does the work in a forked process, its answer in a file; gives the exit status, negative for a signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            torch.save(work(), answer)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException as error:  # of any kind: this process must not return into pytest
            answer.with_suffix(".error").write_text(repr(error))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
