"""What a run shows on the screen: a summary of its settings. RecBole's log file has everything."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable

import recbole.quick_start.quick_start as quick_start
from recbole.config import Config

from recbole_clickprompt.host.properties import backbone_settings
from recbole_clickprompt.methods.registry import find_method, method_names
from recbole_clickprompt.settings.registry import declared, settings_of
from recbole_clickprompt.trainer.stages import stages_of

__all__ = ["install", "summary"]

# RecBole's messages that are only written to the file; so are its data set and model, which are no texts
_ONLY_IN_FILE = ("[Training]", "[Evaluation]", "FLOPs", "The running environment")
_WIDTH = 300  # characters of a line


def install() -> None:
    """Patches RecBole's ``init_logger`` for runs of registered methods, each of which gets its own log file.

    Runs of RecBole's own models, and handlers that the user's program has added, are unchanged.
    """
    original = quick_start.init_logger
    shown = _Shown()
    added: list[logging.Handler] = []

    @functools.wraps(original)
    def init_logger(config: Config) -> None:
        shown.is_method = config["model"] in method_names()
        if shown.is_method:  # with handlers of an earlier run, RecBole would add none
            for handler in added:
                logging.root.removeHandler(handler)
                handler.close()
        before = list(logging.root.handlers)
        original(config)
        added[:] = [handler for handler in logging.root.handlers if handler not in before]
        for handler in added:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(shown)
                handler.setFormatter(_WithSummary(handler.formatter))

    quick_start.init_logger = init_logger


class _Shown(logging.Filter):
    """Selects the messages for the screen."""

    is_method = False  # whether the run is one of a registered method

    def filter(self, record: logging.LogRecord) -> bool:
        if not self.is_method or record.levelno > logging.INFO or isinstance(record.msg, Config):
            return True
        return isinstance(record.msg, str) and not any(part in record.msg for part in _ONLY_IN_FILE)


class _WithSummary(logging.Formatter):
    """Replaces the settings of a method's run by their summary."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self.formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, Config) and record.msg["model"] in method_names():
            record = logging.makeLogRecord({**record.__dict__, "msg": summary(record.msg)})
        return self.formatter.format(record)


def summary(config: Config) -> str:
    """The most important settings of a method's run, in eleven lines or fewer."""
    method = find_method(config["model"])
    stages = [stage.name for stage in stages_of(config, method.stages)]
    finetunes = ["finetune"] if config["train_stage"] in ("all", "finetune") else []
    given = vars(config).get("external_config_dict", {})  # a config from a checkpoint has none
    shown = [f"{name}={value}" for name, value in given.items() if name not in ("model", "dataset")]
    patience = config["stopping_step"]
    lines = {
        "data": config["data_path"],
        "split": _split(config),
        "seed": config["seed"],
        "device": config["device"],
        "stages": ", ".join([*stages, *finetunes]),
        "finetuning": f"at most {config['epochs']} epochs, {config['train_batch_size']} rows per batch, "
        f"{config['learner']}, learning rate {config['learning_rate']}",
        "validation": f"{config['valid_metric']}; stops after {patience + 1} validations without improvement",
        "settings given": ", ".join(shown) or "none",
        "not read": ", ".join(_unread(config, given)),
        "all settings": _log_file(),
    }  # fmt: skip
    rows = [f"  {name:<16}{' '.join(str(value).split())}" for name, value in lines.items() if value != ""]
    rows = [row if len(row) <= _WIDTH else f"{row[:_WIDTH]} ..." for row in rows]
    return "\n".join([f"{method.title(config)} on {config['dataset']}", *rows])


def _unread(config: Config, given: Iterable[str]) -> list[str]:
    """Settings of other models and backbones, which those of this run do not read.

    Those of language models and of pretraining are left out: code that methods share reads some that a method does
    not declare.
    """
    own = {**settings_of(""), **settings_of(config["model"])}
    others = {name for name in declared() if name not in own and not name.startswith(("plm", "pretrain"))}
    others |= backbone_settings()
    return [name for name in given if name in others and name not in config.internal_config_dict]


def _split(config: Config) -> str:
    if config["benchmark_filename"]:
        return f"files {', '.join(map(str, config['benchmark_filename']))}"
    if config["cold_start"]:
        return f"cold_start: {config['cold_start']}"
    arguments = config["eval_args"]
    return f"{arguments['split']}, order: {arguments['order']}"


def _log_file() -> str:
    files = [handler.baseFilename for handler in logging.root.handlers if isinstance(handler, logging.FileHandler)]
    return os.path.relpath(files[0]) if files else "not in a file"
