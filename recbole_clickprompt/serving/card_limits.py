"""What a published model is for, and what it cannot do, for its card."""

from __future__ import annotations

from pathlib import Path

from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.serving.card_rows import RowNumbers
from recbole_clickprompt.serving.load import Trained

__all__ = ["limits"]


def limits(trained: Trained, numbers: RowNumbers | None) -> str:
    """Intended use and limits as a list in Markdown.

    Args:
        trained: The model.
        numbers: Of the rows of its run, if they are known.
    """
    config = trained.config
    lines = [
        "Intended use: ranking items for users like those of the data, and research on such models. It was not "
        "tested for fairness between groups of users, nor on other data.",
        f"Of single users and items it knows what is in the training rows. {_new_ids(trained)}",
    ]
    if test := next((part for part in (numbers.parts if numbers else ()) if part.name == "test"), None):
        lines.append(
            f"{test.unseen_users:.1%} of the test rows have a user without training rows, and "
            f"{test.unseen_items:.1%} such an item; the metrics above include them."
        )
    lines.append(
        "The metrics are of one split and one seed. Probabilities fit the share of clicks in the training rows; "
        "where that differs, they have to be calibrated again."
    )
    if config["sampled_negatives"]:
        lines.append(
            f"{config['sampled_negatives']} negatives were sampled for each click, so that probabilities rank "
            "items but are no click rates."
        )
    if trained.preprocessing.history is not None:
        lines.append(
            "Scores depend on the user's earlier clicks, which rows must bring; without them they count as none."
        )
    if files := find_method(config["model"]).answer_files(config):
        names = ", ".join(f"`{Path(name).name}`" for name in files)
        lines.append(
            f"Trained with answers of a large language model ({names}). It may know what happened after the "
            "clicks, such as the later success of an item: hindsight that no system had at that time, so metrics "
            "may be too good."
        )
    return "\n".join(f"- {line}" for line in lines)


def _new_ids(trained: Trained) -> str:
    preprocessing = trained.preprocessing
    if preprocessing.text is not None:
        return "Of new ones, the features and the text of the row are read."
    if preprocessing.descriptions is not None:
        levels = " and ".join(f"{level}s" for level in preprocessing.descriptions.names)
        return f"Of new ones, the features are read, and texts of {levels}."
    return "Of new ones, the features are read, but no text."
