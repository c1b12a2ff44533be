"""Published models in the place of runs, whose rows are made of their vocabularies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.errors import SettingError, nearest

if TYPE_CHECKING:
    import torch

    from recbole_clickprompt.commands.prediction_timer import PredictionTimer

__all__ = ["add_published", "published_baseline", "published_models"]


def published_models(arguments: Sequence[str]) -> dict[str, Path]:
    """Folders of published models by name, that of ``NAME=FOLDER`` or of the folder; empty if all are runs.

    Raises:
        SettingError: There are runs too, or two have the same name.
    """
    from recbole_clickprompt.host.published import is_published

    given = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        named = bool(equals and name) and not Path(argument).exists()
        folder = Path(path if named else argument)
        given.append((name if named else folder.resolve().name, folder))
    found = [(name, folder) for name, folder in given if is_published(folder)]
    if found and len(found) < len(given):
        raise SettingError(
            f"{found[0][1]} is a published model, which has no test rows, so it cannot be timed next to runs; "
            "give runs alone, or published models alone"
        )
    if shared := [name for name, count in Counter(name for name, _ in found).items() if count > 1]:
        raise SettingError(f"two models have the name {shared[0]!r}; give each another one with NAME=FOLDER")
    return dict(found)


def published_baseline(models: Mapping[str, Path], baseline: str | None) -> str:
    """The name of the baseline, by default the first model; raises SettingError if it is none of them."""
    if baseline is None:
        return next(iter(models))
    if baseline not in models:
        raise SettingError(
            f"--baseline must be one of {', '.join(models)}, got {baseline!r}{nearest(baseline, models)}"
        )
    return baseline


def add_published(timer: PredictionTimer, models: Mapping[str, Path], *, device: torch.device) -> None:
    """Adds published models to a timer, with batches of known users and items.

    Raises:
        DataError: A folder is damaged, or the models have other users and items.
        WeightsError: A model cannot be loaded.
    """
    import numpy as np
    import torch
    from recbole.data.interaction import Interaction

    from recbole_clickprompt.serving.load import load_trained
    from recbole_clickprompt.serving.rows import Counts, RowEncoder
    from recbole_clickprompt.serving.sample_rows import sample_rows
    from recbole_clickprompt.serving.scores import torch_scores

    for name, folder in models.items():
        trained = load_trained(folder, device.type)
        preprocessing, amp = trained.preprocessing, trained.config["enable_amp"]
        states = torch_scores(trained.model, preprocessing, device, enable_amp=amp).states
        rows = sample_rows(preprocessing, timer.batch_size * timer.batches)
        columns = RowEncoder(preprocessing, separate_texts=states is not None)(rows, Counts())
        parts: list[Any] = []
        for which in np.split(np.arange(len(rows)), timer.batches):
            batch = Interaction({column: torch.from_numpy(values[which]) for column, values in columns.items()})
            parts.append(batch.to(device))
        keys = rows.select([preprocessing.user, preprocessing.item]).rename_columns(["user", "item"]).to_pandas()
        timer.add_batches(name, trained.model, parts, keys, enable_amp=amp)
