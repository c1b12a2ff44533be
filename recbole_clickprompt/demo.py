"""Trains the plain backbone, ClickPrompt without PLM and with PLM, and prints their test results side by side.

``python -m recbole_clickprompt.demo [FILE.yaml]``; the settings are those of ``props/demo.yaml``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from recbole.quick_start import run_recbole

from recbole_clickprompt.host.properties import find_property_file

__all__ = ["main"]

_RUNS = {
    "plain backbone": ("ClickPromptNoPLM", {"train_stage": "finetune"}),
    "ClickPrompt without PLM": ("ClickPromptNoPLM", {}),
    "ClickPrompt with PLM": ("ClickPrompt", {}),
}


def main() -> None:
    """Runs the three models one after the other; the two ClickPrompts share one pretraining."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else find_property_file("demo.yaml")
    sys.argv = sys.argv[:1]  # RecBole would read it
    table = [f"{'model':<26}{'AUC':>10}{'LogLoss':>10}{'minutes':>10}"]
    for name, (model, settings) in _RUNS.items():
        start = time.monotonic()
        result = run_recbole(model, config_file_list=[str(file)], config_dict=dict(settings))["test_result"]
        minutes = (time.monotonic() - start) / 60
        table.append(f"{name:<26}{result['auc']:>10.6f}{result['logloss']:>10.6f}{minutes:>10.1f}")
    print("\n".join(["", "test results on the same rows", *table]))


if __name__ == "__main__":
    main()
