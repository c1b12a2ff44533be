"""The effect of longer pretraining: MLM loss on validation rows, and AUC of the finetuned model.

    python -m benchmarks.pretraining_length props/evidence/ml-100k.yaml --run="ClickPrompt without PLM" \
        --passes 0 1 2 4 --seeds 2 3 4

Repeats one run of a grid file with different values of ``pretrain_epochs``, and skips those that are in its table.
Prints the results, and writes a page with the figure next to the table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.evaluation.tables import markdown_table

if TYPE_CHECKING:
    import pandas as pd

_MLM = {
    "mlm_loss": "own prompts",
    "mlm_loss_swapped_prompts": "prompts of another row",
    "mlm_loss_without_prompts": "no prompts",
}
_MODEL = {"prompt_spread": "spread of prompts", "embedding_scale": "scale of embeddings"}
_AUC = {"valid_auc": "validation", "test_auc": "test"}


def main() -> None:
    """Runs what is missing in the table, then prints and draws the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path, help="a grid file")
    parser.add_argument("--run", required=True, help="the name of one of its runs")
    parser.add_argument("--passes", type=int, nargs="+", default=[0, 1, 2, 4], help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 4], help="default: %(default)s")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="override settings of the file")
    parser.add_argument("--out", type=Path, default=Path("results/pretraining-length.csv"))
    options = parser.parse_args()
    del sys.argv[1:]  # RecBole reads the command line too

    import yaml

    from recbole_clickprompt.host.properties import read_yaml
    from recbole_clickprompt.tuning.results import append_row, digest, read_results

    grid = read_yaml(options.grid)
    changes = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in options.set)}
    settings = {**grid["settings"], **grid["runs"][options.run], **changes}
    keys = set()  # the table may have rows of other settings
    for seed in options.seeds:
        for passes in options.passes:
            row = {"passes": passes, "seed": seed, "digest": digest(settings, passes, seed)}
            keys.add(row["digest"])
            if row["digest"] not in set(read_results(options.out, list(row))["digest"]):
                append_row({**row, **_measure({**settings, "seed": seed}, passes)}, options.out)
    table = read_results(options.out, [])
    table = table[table["digest"].isin(keys)]
    _print(table)
    _draw(table, options.run, options.out.with_suffix(".html"))


def _measure(settings: dict[str, Any], passes: int) -> dict[str, float]:
    from recbole.quick_start import run_recbole

    import recbole_clickprompt  # noqa: F401  registers the models

    if not passes:
        outcome = run_recbole(config_dict={**settings, "train_stage": "finetune"})
        recovered = {}
    else:
        settings["pretrain_epochs"] = passes
        recovered = run_recbole(config_dict={**settings, "train_stage": "pretrain"})["best_valid_result"]
        outcome = run_recbole(config_dict=settings)
    return {
        **{name: recovered.get(name) for name in (*_MLM, "mlm_accuracy", *_MODEL)},
        "valid_auc": outcome["best_valid_score"],
        "test_auc": outcome["test_result"]["auc"],
    }


def _print(table: pd.DataFrame) -> None:
    losses = (f"MLM loss, {words}" for words in _MLM.values())
    header = ["passes", "seeds", *losses, "accuracy", *_MODEL.values(), "validation AUC", "test AUC"]
    lines = [
        [str(passes), str(len(rows)), *(_cell(rows[name]) for name in (*_MLM, "mlm_accuracy", *_MODEL, *_AUC))]
        for passes, rows in table.groupby("passes")
    ]
    print(markdown_table(header, lines))


def _cell(values: pd.Series) -> str:
    if values.isna().all():
        return ""
    return f"{values.mean():.4f}" + (f" ± {values.std():.4f}" if len(values) > 1 else "")


def _draw(table: pd.DataFrame, run: str, path: Path) -> None:
    from plotly.subplots import make_subplots

    figure = make_subplots(1, 2, horizontal_spacing=0.12)
    for column, lines in enumerate((_MLM, _AUC), start=1):
        for name, words in lines.items():
            values = table.dropna(subset=[name]).groupby("passes")[name]
            figure.add_scatter(
                row=1, col=column, x=values.mean().index, y=values.mean(), name=words, mode="lines+markers",
                error_y={"array": values.std()}, legend="legend" if column == 1 else "legend2",
            )  # fmt: skip
        figure.update_xaxes(title="passes of PA-MLM over the training rows", row=1, col=column)
    figure.update_yaxes(title="MLM loss, nats per masked token", row=1, col=1)
    figure.update_yaxes(title=f"AUC, {run}", row=1, col=2)
    above = {"orientation": "h", "yanchor": "bottom", "y": 1.0}
    figure.update_layout(
        template="plotly_white", width=1000, height=380, margin={"l": 70, "r": 20, "t": 40, "b": 60},
        legend={**above, "x": 0.0}, legend2={**above, "x": 0.56},
    )  # fmt: skip
    figure.write_html(path, config={"displayModeBar": False})


if __name__ == "__main__":
    main()
