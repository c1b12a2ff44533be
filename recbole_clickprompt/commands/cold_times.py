"""Times the predictions of a model for what no cache holds: texts of new items, or rows that were never scored."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from recbole_clickprompt.commands.hit_rates import HitRateTimer

if TYPE_CHECKING:
    import torch

    from recbole_clickprompt.host.restore import Restored

__all__ = ["cold_ms"]

_BATCHES = 5
_Call = Callable[[], object]


def cold_ms(run: Restored, device: torch.device, *, batch_size: int, caches_rows: bool) -> float | None:
    """Median milliseconds of batches, by how the model reads texts.

    - One that encodes texts of items (``EncodesTexts``): each row has another new item, whose text is encoded.
    - One that reads states of texts: likewise, from the tokens of the text.
    - One that keeps what it computed about rows: each row is scored for the first time.

    Args:
        run: Its test rows must not have been scored, and there must be ``batch_size`` of them.
        device: Where the model is.
        batch_size: Rows of a batch.
        caches_rows: Whether the model reads fewer parameters when it scores rows again.

    Returns:
        None for any other model, for which no batch takes longer than another.
    """
    from recbole_clickprompt.text.states import StateTable
    from recbole_clickprompt.trainer.text_vectors import encoded_levels

    if "item" in encoded_levels(run.model):
        timer = HitRateTimer(device, rates=[0.0], batch_size=batch_size, batches=_BATCHES, rounds=1)
        timer.add("", run)
        return float(timer.measure()["p50_ms"].iloc[0])
    if isinstance(getattr(run.model, "text", None), StateTable):
        calls = list(_new_texts(run, device, batch_size))
        calls[0]()  # warms up
    elif caches_rows:
        calls = list(_new_rows(run, device, batch_size))
    else:
        return None
    return float(np.median([_timed(call, device) for call in calls]))


def _timed(call: _Call, device: torch.device) -> float:
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    start = time.perf_counter()
    call()
    wait()
    return 1000 * (time.perf_counter() - start)


def _starts(rows: int, size: int) -> range:
    return range(0, min(_BATCHES, rows // size) * size, size)


def _new_rows(run: Restored, device: torch.device, size: int) -> Iterator[_Call]:
    """Functions that predict a batch of test rows each."""
    import torch

    from recbole_clickprompt.trainer.stage import autocast

    @torch.inference_mode()
    def predict(batch: object) -> object:
        with autocast(device, run.config["enable_amp"]):
            return run.model.predict(batch)

    dataset = run.test_data._dataset
    for start in _starts(len(dataset), size):
        yield functools.partial(predict, dataset[start : start + size].to(device))


def _new_texts(run: Restored, device: torch.device, size: int) -> Iterator[_Call]:
    """Functions that predict a batch each, whose items have the text of known ones and one more token."""
    from recbole_clickprompt.preprocessing.from_dataset import observe
    from recbole_clickprompt.serving.scores import torch_scores
    from recbole_clickprompt.serving.text import NEW_LENGTHS, NEW_TOKENS

    dataset = run.test_data._dataset
    preprocessing = observe(run.train_data._dataset, run.config["plm"])
    scores = torch_scores(run.model, preprocessing, device, enable_amp=run.config["enable_amp"])
    assert preprocessing.text is not None
    segments = preprocessing.text.segments
    for start in _starts(len(dataset), size):
        rows = dataset[start : start + size]
        columns = {name: column.numpy() for name, column in rows.interaction.items()}
        ids = columns[dataset.iid_field]
        texts: list[list[int]] = [[] for _ in ids]
        lengths = np.zeros((len(ids), len(segments)), dtype=np.int64)
        for place, segment in enumerate(segments):
            if segment.key != dataset.iid_field:
                continue
            for row, item in enumerate(ids):
                known = segment.values[segment.offsets[item] : segment.offsets[item + 1]].tolist()
                new = [*known, int(segment.values[(start + row) % len(segment.values)])]
                texts[row] += new
                lengths[row, place] = len(new)
        tokens = np.zeros((len(ids), max(map(len, texts))), dtype=np.int64)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = text
        unknown = {dataset.iid_field: np.zeros_like(ids), NEW_TOKENS: tokens, NEW_LENGTHS: lengths}
        columns = {**columns, **unknown}
        yield functools.partial(scores, columns)
