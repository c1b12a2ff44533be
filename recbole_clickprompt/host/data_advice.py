"""Settings that suit a data set with many rows of users or items that training has not seen."""

from __future__ import annotations

from collections.abc import Mapping

from recbole_clickprompt.evaluation.data_report import PartNumbers
from recbole_clickprompt.settings.values import Settings

__all__ = ["advice"]

_MANY = 0.05  # share of a part's rows


def advice(parts: Mapping[str, PartNumbers], config: Settings, *, has_time: bool) -> list[str]:
    """One sentence for unseen users and one for unseen items, if a part has many rows of them.

    Args:
        parts: Numbers of the parts, training rows first.
        config: Settings of the run; what is set already is not advised.
        has_time: Whether rows have times, which histories need.
    """
    sentences = []
    for kind, field in (("user", config["USER_ID_FIELD"]), ("item", config["ITEM_ID_FIELD"])):
        shares = {name: getattr(part, f"unseen_{kind}s") / part.rows for name, part in parts.items()}
        name = max(shares, key=lambda name: shares[name])
        options = _options(kind, field, config, has_time=has_time)
        if shares[name] >= _MANY and options:
            share = f"{100 * shares[name]:.0f} % of the {name} rows"
            sentences.append(f"{share} have {kind}s without training rows: {'; '.join(options)}")
    return sentences


def _options(kind: str, field: str, config: Settings, *, has_time: bool) -> list[str]:
    options = []
    if config["unseen_id_embeddings"] != "zero":
        options.append("`unseen_id_embeddings: zero` keeps untrained embeddings out of their scores")
    if kind == "user" and has_time and config["history_length"] is None and config["cold_start"] != field:
        options.append(
            "`history_length: 20`, `history: all` and `history_pooling: attention` let models read their earlier "
            "clicks"
        )
    if config["cold_start"] is None and config["benchmark_filename"] is None:
        options.append(f"`cold_start: {field}` tests on such rows only")
    return options
