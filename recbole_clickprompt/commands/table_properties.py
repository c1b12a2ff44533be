"""The property file of a data set that was made of a user's table."""

from __future__ import annotations

import json

from recbole_clickprompt.data.convert.user_table import UserTable
from recbole_clickprompt.data.numbers import number_text

__all__ = ["property_file"]


def property_file(table: UserTable, name: str, file: str) -> str:
    """Its text, with the type and the meaning of each key.

    Args:
        table: The table.
        name: Name of the data set.
        file: Name of the table's file.
    """
    numbers = _json(table.numbers)
    timed = "timestamp" in table.sources
    lines = [
        f"# {name}, made by `recbole-cp from-table {file}`. All of it was inferred: check it.",
        "load_col:  # (dict) Fields to load.",
        *(
            f"  {source}: {_json(table.fields(source))}"
            for source in ("inter", "user", "item")
            if source == "inter" or len(table.fields(source)) > 1
        ),
        "eval_args:  # (dict) RecBole's; needs all four keys.",
        "  split: {RS: [8, 1, 1]}  # (dict) Shares of training, validation and test part.",
        f"  order: {'TO' if timed else 'RO'}  # (str) TO: chronological; RO: random.",
        "  group_by: ~  # (str) None: one split of all rows, not one per user.",
        "  mode: labeled  # (str) Rows have labels; nothing is sampled.",
    ]
    if timed:
        lines.append("unused_col: {inter: [timestamp]}  # (dict) Only used for the split.")
    if table.threshold is not None:
        value = number_text(table.threshold)
        lines.append(f"threshold: {{rating: {value}}}  # (dict) Ratings of {value} and above have label 1.")
    if table.negatives:
        lines.append(
            f"sampled_negatives: {table.negatives.number}  # (int) Rows of label 0 for each click; they were "
            "sampled, and metrics on them are no metrics on shown items."
        )
    if table.separator != " ":
        lines.append(
            f"seq_separator: {_json(table.separator)}  # (str) Separates the values of a list in the files."
        )
    if table.numbers:
        lines += [
            f"numerical_features: {numbers}  # (list) Float fields that are features of the backbone.",
            f"normalize_field: {numbers}  # (list) Scaled to the range 0 to 1; training can fail"
            " on large unscaled numbers.",
        ]
    if table.log:
        lines.append(f"log_scale_fields: {_json(table.log)}  # (list) Of these the logarithm is scaled.")
    if table.text_only:
        lines.append(f"text_only_fields: {_json(table.text_only)}  # (list) Only language models read these.")
    lines.append("text_fields:  # (dict) Name of each field in the sentence, in the order of the sentence.")
    lines += [f"  {_json(field)}: {_json(words)}" for field, words in table.words.items()]
    lines.append("value_labels: {}  # (dict) Words for the codes of a field, such as {gender: {F: female}}.")
    lines.append(
        "column_names:  # (dict) Columns of the table and their fields; `predict` accepts them. Null: not read."
    )
    lines += [f"  {_json(column)}: {_json(field)}" for column, field in table.column_names.items()]
    if table.list_separators:
        lines.append(
            f"list_separators: {_json(table.list_separators)}  # (dict) Separators of lists in the table, which "
            "`predict` accepts."
        )
    return "\n".join(lines) + "\n"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
