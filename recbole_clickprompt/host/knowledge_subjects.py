"""The items and users of a data set that a teacher is asked about: texts, and statistics of training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_clickprompt.errors import SettingError, nearest
from recbole_clickprompt.knowledge.prompts import Subject
from recbole_clickprompt.knowledge.sampling import sample_weight
from recbole_clickprompt.text.descriptions import descriptions, profile_descriptions
from recbole_clickprompt.trainer.sampling import sample

if TYPE_CHECKING:
    from recbole_clickprompt.host.dataset import TextDataset
    from recbole_clickprompt.text.user_profiles import UserProfiles

__all__ = ["STATISTICS", "Statistic", "subjects_of", "texts_of"]

Statistic = Literal["rows", "clicks", "ctr", "none"]
STATISTICS = ("rows", "clicks", "ctr", "none")
_PRIOR_ROWS = 20  # of the smoothed click-through rate
_ALL, _UNKNOWN = "all", "unknown"


def subjects_of(
    training: TextDataset, level: str, *, strata: str | None = None, statistic: Statistic = "rows"
) -> list[Subject]:
    """All items, or all profiles of users, that have a text.

    With ``user_knowledge: blocks`` a user has a profile as of each block in which there is a row of the user, and
    one after the training rows; otherwise one that consists of the user's features.

    Args:
        training: The training part of the split; the only rows that are counted.
        level: ``item`` or ``user``.
        strata: The field whose first value is the stratum. None: for items the text field with the fewest values,
            for users the quartiles of their clicks.
        statistic: What weights in sampling are a function of: training rows, clicks, the smoothed click-through
            rate, or nothing.

    Returns:
        In the order of their ids, or of the profiles' numbers.

    Raises:
        SettingError: ``strata`` is not a feature of this level, or ``text_fields`` has no features of it.
    """
    field = training.iid_field if level == "item" else training.uid_field
    rows, clicks = _counts(training, field)
    by_clicks = strata is None and level == "user"
    groups = _quartiles(clicks) if by_clicks else _first_values(training, field, strata)
    weights = _weights(rows, clicks, statistic)
    if level == "user" and training.user_profiles is not None and training.user_profiles.num_blocks:
        asked = _profiles(training, training.user_profiles)
    else:
        tokens = training.field2id_token[field]
        asked = [(str(tokens[id_]), id_, None, text) for id_, text in enumerate(texts_of(training, level))]
    return [
        Subject(key, level, text, groups[id_], float(weights[id_]), block)
        for key, id_, block, text in asked
        if id_ and text
    ]


def _profiles(training: TextDataset, profiles: UserProfiles) -> list[tuple[str, int, int | None, str]]:
    """Key, user id, block and text of each profile."""
    keys = profiles.keys(training.field2id_token[training.uid_field])
    users, blocks = profiles.users.tolist(), profiles.blocks.tolist()
    return list(zip(keys, users, blocks, profile_descriptions(training), strict=True))


def texts_of(dataset: TextDataset, level: str) -> list[str]:
    """The text of each user or item without its id, as in the text of rows; empty where all features are missing.

    Args:
        dataset: A part of the split.
        level: ``item`` or ``user``.

    Returns:
        By id; that of id 0 is empty.

    Raises:
        SettingError: ``text_fields`` has no feature of this level.
    """
    texts = descriptions(dataset, level)
    if not any(texts):
        raise SettingError(
            f"text_fields has no feature of {level}s, so there is nothing to ask about; add features to the data "
            "set's property file"
        )
    return texts


def _counts(training: TextDataset, field: str) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and clicks of each id, ``(ids,)``; with ``train_rows`` those of the sampled rows."""
    part = sample(training.config, training, "train_rows")
    ids, size = part.inter_feat[field], training.num(field)
    clicked = part.inter_feat[training.label_field] > 0
    rows, clicks = (torch.bincount(chosen, minlength=size).numpy() for chosen in (ids, ids[clicked]))
    return rows, clicks


def _weights(rows: np.ndarray, clicks: np.ndarray, statistic: Statistic) -> np.ndarray:
    if statistic == "none":
        return np.ones(len(rows))
    if statistic == "ctr":
        rate = clicks.sum() / max(rows.sum(), 1)
        return sample_weight((clicks + _PRIOR_ROWS * rate) / (rows + _PRIOR_ROWS))
    return sample_weight(rows if statistic == "rows" else clicks)


def _quartiles(clicks: np.ndarray) -> list[str]:
    """The stratum of each user, named after the numbers of clicks in it."""
    edges = np.quantile(clicks[1:], [0.25, 0.5, 0.75]) if len(clicks) > 1 else [0.0]
    quartile = np.searchsorted(edges, clicks)
    names = {}
    for number in np.unique(quartile[1:]):
        inside = clicks[1:][quartile[1:] == number]
        low, high = int(inside.min()), int(inside.max())
        names[number] = f"{low} clicks" if low == high else f"{low}-{high} clicks"
    return ["", *(names[number] for number in quartile[1:])]


def _first_values(dataset: TextDataset, field: str, strata: str | None) -> list[str]:
    """The first value of a feature for each id."""
    source = FeatureSource.ITEM if field == dataset.iid_field else FeatureSource.USER
    features = [
        name
        for name, kind in dataset.field2type.items()
        if dataset.field2source[name] is source and kind in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
    ]
    if strata is not None and strata not in features:
        raise SettingError(
            f"--strata must be a field of tokens that belongs to {field}, one of {', '.join(features) or 'none'}; "
            f"got {strata!r:.80}{nearest(strata, features)}"
        )
    size = dataset.num(field)
    if strata is None:
        read = [name for name in features if name in dataset.config["text_fields"]]
        numbers = {name: len(np.unique(_first_ids(dataset, name)[1:])) for name in read}
        usable = {name: number for name, number in numbers.items() if 1 < number <= max(2, size // 8)}
        if not usable:
            return [_ALL] * size
        strata = min(usable, key=lambda name: (usable[name], name))
    tokens = dataset.field2id_token[strata]
    return [str(tokens[number]) if number else _UNKNOWN for number in _first_ids(dataset, strata)]


def _first_ids(dataset: TextDataset, feature: str) -> np.ndarray:
    """Id of the first value of a feature for each user or item, ``(ids,)``; 0 is none."""
    values = torch.as_tensor(dataset.field2feats(feature)[0][feature]).numpy()
    return values if values.ndim == 1 else values[:, 0]
