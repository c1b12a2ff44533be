"""Learning curves: those that a run has, and no others."""

import pandas as pd

from recbole_clickprompt.evaluation.report.training import learning_section
from recbole_clickprompt.methods.clickprompt.method import ClickPromptMethod


def titles(*lines, curves=ClickPromptMethod.curves):
    section = learning_section({"run": pd.DataFrame(lines)}, curves)
    return [panel.title for panel in section.panels]


def test_each_objective_of_a_pretraining_has_its_curves():
    mlm = {"mlm_loss": 5.5, "mlm_accuracy": 0.2}
    replaced = {"replaced_item_loss": 0.6, "replaced_item_accuracy": 0.7}
    of_mlm = ["Pretraining: MLM loss", "Pretraining: MLM accuracy"]
    of_replaced = ["Pretraining: replaced items, loss", "Pretraining: replaced items, accuracy"]
    epoch = {"stage": "pretrain", "epoch": 0}
    assert titles({**epoch, **mlm}) == of_mlm
    assert titles({**epoch, **replaced}) == of_replaced
    assert titles({**epoch, **mlm, **replaced}) == of_mlm + of_replaced


def test_metrics_that_no_method_describes_have_curves_too():
    lines = {"stage": "distill", "epoch": 0, "answer_loss": 1.5}
    assert titles(lines, curves=()) == ["Distill: answer loss"]
