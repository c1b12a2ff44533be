"""The card of a published model: README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import yaml

import recbole_clickprompt
from recbole_clickprompt.evaluation.run_folder import RunFolder
from recbole_clickprompt.evaluation.tables import markdown_table
from recbole_clickprompt.host.published import published_settings
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.plm.origin import origin_of
from recbole_clickprompt.serving.card_limits import limits
from recbole_clickprompt.serving.card_rows import RowNumbers, row_numbers
from recbole_clickprompt.serving.load import Trained
from recbole_clickprompt.settings.registry import settings_of

__all__ = ["model_card"]

_UNKNOWN = "not recorded: only the checkpoint of the run was left"


def model_card(
    trained: Trained, run: RunFolder | None, language_models: Mapping[str, bool], *, license: str | None
) -> str:
    """The card as Markdown, of what the run recorded and what is in the folder.

    Args:
        trained: The model.
        run: The folder of its run; None if only the checkpoint is left.
        language_models: The language models in the folder; see ``Method.served_language_models``.
        license: The license of the model, for the front matter.

    Raises:
        DataError: A file of the run is damaged.
    """
    config, numbers = trained.config, None if run is None else row_numbers(run)
    title = find_method(config["model"]).title(config)
    sections = {
        "Use": _use(trained),
        "Data": _data(trained, numbers),
        "Results": _results(run),
        "Training": _training(trained, run),
        "Intended use and limits": limits(trained, numbers),
        "Contents and licenses": _contents(trained, language_models, license),
    }
    intro = (
        f"Probabilities of a click for pairs of users and items, by the model {title} of `recbole-clickprompt` "
        f"{recbole_clickprompt.__version__}, trained on the data set `{config['dataset']}`."
    )
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    front = yaml.safe_dump(
        _front_matter(trained, run, language_models, license), sort_keys=False, allow_unicode=True
    )
    return f"---\n{front}---\n\n# {title} on {config['dataset']}\n\n{intro}\n\n{body}\n"


def _front_matter(
    trained: Trained, run: RunFolder | None, language_models: Mapping[str, bool], license: str | None
) -> dict[str, Any]:
    config = trained.config
    bases = [hub_id for setting in language_models if (hub_id := origin_of(config[setting]).hub_id)]
    found = {} if run is None else _metrics(run)
    result = {
        "task": {"type": "tabular-classification", "name": "Click-through rate prediction"},
        "dataset": {"type": config["dataset"], "name": config["dataset"], "split": "test"},
        "metrics": [{"type": name.lower(), "name": name, "value": value} for name, value in found.items()],
    }
    name = find_method(config["model"]).title(config)
    return {
        **({"license": license} if license else {}),
        "library_name": "recbole-clickprompt",
        "pipeline_tag": "tabular-classification",
        "tags": ["click-through-rate", "recommendation", "recbole", config["model"]],
        **({"base_model": bases} if bases else {}),
        **({"metrics": [name.lower() for name in found]} if found else {}),
        **({"model-index": [{"name": f"{name} on {config['dataset']}", "results": [result]}]} if found else {}),
    }


def _metrics(run: RunFolder) -> dict[str, float]:
    """Metrics of the test rows, as the run recorded them."""
    recorded = run.info.get("test_result")
    found = recorded if isinstance(recorded, dict) else {}
    written = {name.lower(): name for name in ("AUC", "LogLoss")}  # RecBole's are in small letters
    numbers = {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}
    return {written.get(name, name): value for name, value in numbers.items()}


def _use(trained: Trained) -> str:
    preprocessing = trained.preprocessing
    text = preprocessing.text.names if preprocessing.text is not None else {}
    fields = preprocessing.fields.values()
    own = [field.name for field in fields if field.source == "inter" and (field.feature or field.name in text)]
    needed = [preprocessing.user, preprocessing.item, *own]
    optional = [field.name for field in fields if field.source in ("user", "item")]
    optional += preprocessing.history.raw if preprocessing.history else []
    lines = [
        "```python\nimport recbole_clickprompt  # pip install recbole-clickprompt\n\n"
        'model = recbole_clickprompt.from_pretrained("FOLDER_OR_HUB_ID")\n'
        "probabilities = model.predict(rows)  # a pandas, polars or Arrow table\n```",
        f"Columns that rows must have: {_names(needed)}.",
    ]
    if optional:
        lines.append(
            f"Columns that rows may have: {_names(optional)}. Features are read of new users and items only."
        )
    return "\n\n".join(lines)


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _data(trained: Trained, numbers: RowNumbers | None) -> str:
    config, preprocessing = trained.config, trained.preprocessing
    ids = {key: len(preprocessing.vocabulary[key]) - 1 for key in (preprocessing.user, preprocessing.item)}
    text = f"Data set: `{config['dataset']}`. It has " + " and ".join(
        f"{count:,} different values of `{name}`" for name, count in ids.items()
    )
    if numbers is None:
        return f"{text}.\n\nRows: {_UNKNOWN}."
    text += f", and {numbers.training:,} training rows."
    if not numbers.parts:
        return text
    rows = [
        [part.name, f"{part.rows:,}", f"{part.unseen_users:.1%}", f"{part.unseen_items:.1%}"]
        for part in numbers.parts
    ]
    table = markdown_table(["part", "rows", "of users without training rows", "of items without"], rows)
    return f"{text}\n\n{table}"


def _results(run: RunFolder | None) -> str:
    if run is None or not (found := _metrics(run)):
        return f"Metrics of test rows: {_UNKNOWN}."
    rows = [[run.title, *(f"{value:.6f}" for value in found.values())]]
    table = markdown_table(["test rows", *found], rows)
    baselines = [
        [name.replace("_", " "), *(f"{values['test'][key]:.6f}" for key in ("auc", "logloss"))]
        for name, values in run.info["baselines"].items()
        if "test" in values
    ]
    text = (
        f"Of one run with seed {run.info['seed']}, at the epoch that was best on the validation rows.\n\n{table}"
    )
    if baselines:
        text += f"\n\n{markdown_table(['baseline', 'AUC', 'log loss'], baselines)}"
    return text


def _training(trained: Trained, run: RunFolder | None) -> str:
    command = f"Command: {_UNKNOWN}."
    if run is not None:
        command = f"Finished on {run.date:%Y-%m-%d}. Command:\n\n```\n{shlex.join(run.info['command'])}\n```"
    settings = yaml.safe_dump(_changed_settings(trained), allow_unicode=True)
    return (
        f"{command}\n\nSettings that differ from the defaults of `recbole-clickprompt`, or that it leaves to "
        f"RecBole and to the data set; `config.json` has all:\n\n```yaml\n{settings}```"
    )


def _changed_settings(trained: Trained) -> dict[str, Any]:
    known = {**settings_of(""), **settings_of(trained.config["model"])}
    values = published_settings(trained.config.final_config_dict)
    return {name: value for name, value in values.items() if name in known and value != known[name].default}


def _contents(trained: Trained, language_models: Mapping[str, bool], license: str | None) -> str:
    config, preprocessing = trained.config, trained.preprocessing
    stated = license or "not stated by the publisher"
    lines = [f"License of this model: {stated}."]
    for setting, weights in language_models.items():
        origin = origin_of(config[setting])
        where = f"`{setting}/`" if weights else "`model.safetensors`, as training left them"
        lines.append(
            f"`{setting}/`: the language model `{origin.name}`. Weights of it that are read are in {where}. "
            f"Their license: {origin.license}."
        )
    if not language_models and _was_taught_by_text(trained):
        origin = origin_of(config["plm"])
        lines.append(
            f"Trained with the help of the language model `{origin.name}`, which is not in this folder. License: "
            f"{origin.license}."
        )
    lines.append(
        f"`preprocessing/` holds the ids of users and items as they are in the data (`{preprocessing.user}`, "
        f"`{preprocessing.item}`){_features(trained)}. It holds no rows of the data."
    )
    return "\n".join(f"- {line}" for line in lines)


def _was_taught_by_text(trained: Trained) -> bool:
    """Whether a stage or finetuning read texts with the language model."""
    config, method = trained.config, find_method(trained.config["model"])
    has_stages = config["train_stage"] != "finetune" or config["pre_model_path"]
    stages = [stage for stage in method.stages if has_stages and stage.is_enabled(config)]
    return method.reads_text(config) or any(stage.reads_text(config) for stage in stages)


def _features(trained: Trained) -> str:
    names = [field.name for field in trained.preprocessing.fields.values() if field.source == "user"]
    return f", and by user the features that the model reads of known users: {_names(names)}" if names else ""
