"""Registers models so that RecBole's own entry points find them by name.

RecBole has no plug-in interface, but three of its look-ups can be extended: models are found among the modules of
a package (``recbole.utils.get_model``), trainers and data sets by attribute name (``get_trainer``,
``create_dataset``). For property files, one method of ``Config`` is wrapped.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import TYPE_CHECKING

import recbole.data.dataset
import recbole.trainer
from recbole.config import Config

import recbole_clickprompt.backbones.settings  # noqa: F401 - declares the settings of backbones
from recbole_clickprompt.backbones import NEW_MODELS
from recbole_clickprompt.host import distributed, precision, recbole_files, run_result, screen
from recbole_clickprompt.host.check_settings import check_settings
from recbole_clickprompt.host.current_libraries import support_current_libraries
from recbole_clickprompt.host.dataset import TextDataset
from recbole_clickprompt.host.model_modules import add_model
from recbole_clickprompt.host.properties import find_property_file, load_properties, read_yaml
from recbole_clickprompt.host.recbole_models import reject_unlabeled_data
from recbole_clickprompt.host.restore import replace_recboles_reader
from recbole_clickprompt.host.untrusted_input import install_safety_patches
from recbole_clickprompt.methods.base import Method
from recbole_clickprompt.methods.registry import find_method, load_methods, method_names, on_register
from recbole_clickprompt.settings.old_names import use_new_names
from recbole_clickprompt.settings.registry import settings_of
from recbole_clickprompt.trainer.group_metrics import metrics_of_recbole

if TYPE_CHECKING:
    from recbole.model.abstract_recommender import AbstractRecommender

    from recbole_clickprompt.host.trainer import PlainTrainer
    from recbole_clickprompt.trainer import StagedTrainer
    from recbole_clickprompt.trainer.protocols import CTRModel

__all__ = ["register"]


@functools.cache
def register() -> None:
    """Registers all methods with their data set, trainer and property files, and the backbones that RecBole lacks.

    Methods that are registered later are added too. Repeated calls do nothing.
    """
    support_current_libraries()
    install_safety_patches()
    replace_recboles_reader()
    for model in NEW_MODELS:
        add_model(model, functools.partial(_backbone_class, model))
        setattr(recbole.trainer, f"{model}Trainer", _plain_trainer)
    load_methods()
    on_register(_add_method)
    _wrap_config()
    recbole_files.install()
    distributed.install()
    run_result.install()
    screen.install()
    precision.install()


def _add_method(method: Method) -> None:
    add_model(method.name, method.model_class)
    setattr(recbole.data.dataset, f"{method.name}Dataset", TextDataset)
    setattr(recbole.trainer, f"{method.name}Trainer", _trainer)


def _backbone_class(name: str) -> type:
    return getattr(importlib.import_module(f"recbole_clickprompt.backbones.{name.lower()}"), name)


def _trainer(config: Config, model: CTRModel) -> StagedTrainer:
    # A function instead of the class, so that `import recbole_clickprompt` does not import the trainer
    from recbole_clickprompt.trainer import StagedTrainer

    return StagedTrainer(config, model, find_method(config["model"]))


def _plain_trainer(config: Config, model: AbstractRecommender) -> PlainTrainer:
    from recbole_clickprompt.host.trainer import PlainTrainer

    return PlainTrainer(config, model)


def _wrap_config() -> None:
    load_internal = Config._load_internal_config_dict

    @functools.wraps(load_internal)
    def load_with_properties(self: Config, model: str, model_class: type, dataset: str) -> None:
        load_internal(self, model, model_class, dataset)
        if model in method_names():
            given = (self.file_config_dict, self.variable_config_dict, self.cmd_config_dict)
            use_new_names(*given)
            self._merge_external_config_dict()
            # These override RecBole's defaults; the user's settings override both
            host_settings = set(self.internal_config_dict)
            self.internal_config_dict["show_progress"] = sys.stderr.isatty()
            self.internal_config_dict.update(
                load_properties(model=model, dataset=dataset, external=self.external_config_dict)
            )
            foreign = check_settings(
                model=model,
                host_settings=host_settings,
                defaults=self.internal_config_dict,
                given={**self.file_config_dict, **self.variable_config_dict},
                command_line=self.cmd_config_dict,
            )
            for key in foreign:  # options of the user's program are not settings of the run
                del self.external_config_dict[key]
            settings = {**self.internal_config_dict, **self.external_config_dict}
            if settings.get("pretrain_epochs") == 0 and "pretrain_epochs" in settings_of(model):
                self.external_config_dict["train_stage"] = "finetune"
            return
        reject_unlabeled_data(model, dataset, self.external_config_dict)
        if model in NEW_MODELS and (file := find_property_file(f"backbone/{model}.yaml")):
            # Like a model of RecBole: RecBole's defaults and trainer, and unchecked settings
            self.internal_config_dict.update(read_yaml(file))

    Config._load_internal_config_dict = load_with_properties
    set_defaults = Config._set_default_parameters

    @functools.wraps(set_defaults)
    def set_defaults_with_gauc(self: Config) -> None:
        # RecBole's GAUC is a metric of rankings, which it refuses next to AUC; our trainer's is one of scores
        values = self.final_config_dict
        metrics = values["metrics"]
        if self.model in method_names():
            metrics = [metrics] if isinstance(metrics, str) else list(metrics)
            values["metrics"] = metrics_of_recbole(metrics) or ["AUC"]
        set_defaults(self)
        if self.model in method_names():
            values["metrics"] = metrics

    Config._set_default_parameters = set_defaults_with_gauc
