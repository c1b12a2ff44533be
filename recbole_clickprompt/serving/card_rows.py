"""Numbers of rows of a run, for the card of its model."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.run_folder import RunFolder

__all__ = ["PartRows", "RowNumbers", "row_numbers"]


@dataclass(frozen=True)
class PartRows:
    """Rows of a part of the split that the model was not trained on.

    Attributes:
        name: ``validation`` or ``test``.
        rows: Their number.
        unseen_users: Share of rows whose user has no training row.
        unseen_items: Share of rows whose item has none.
    """

    name: str
    rows: int
    unseen_users: float
    unseen_items: float


@dataclass(frozen=True)
class RowNumbers:
    """Numbers of rows of a run.

    Attributes:
        training: Rows that were trained on.
        parts: The other parts; empty if the run saved no predictions.
    """

    training: int
    parts: list[PartRows]


def row_numbers(run: RunFolder) -> RowNumbers:
    """Counts the rows of a finished run.

    Raises:
        DataError: A file of the run is damaged.
    """
    counts = run.train_counts()
    known = {kind: set(counts.loc[counts["kind"] == kind, "token"]) for kind in ("user", "item")}
    training = int(counts.loc[counts["kind"] == "user", "rows"].sum())
    try:
        predictions = run.predictions()
    except DataError:
        if run.info["settings"].get("save_predictions", True):
            raise
        return RowNumbers(training, [])
    parts = [
        PartRows(name, len(rows), *(float((~rows[kind].isin(known[kind])).mean()) for kind in ("user", "item")))
        for split, name in (("valid", "validation"), ("test", "test"))
        if len(rows := predictions[predictions["split"] == split])
    ]
    return RowNumbers(training, parts)
