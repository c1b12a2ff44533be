"""Trains the models listed in ``props/demo.yaml`` and prints their test results side by side.

``python -m recbole_clickprompt.demo [FILE.yaml]``
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from recbole.quick_start import run_recbole

from recbole_clickprompt.host.properties import find_property_file, read_yaml

__all__ = ["main"]


def main() -> None:
    """Runs one model after the other; those with the same pretraining share it."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else find_property_file("demo.yaml")
    assert file is not None
    sys.argv = sys.argv[:1]  # RecBole would read it
    content = read_yaml(file)
    table = [f"{'model':<26}{'AUC':>10}{'LogLoss':>10}{'minutes':>10}"]
    for name, own in content["runs"].items():
        start = time.monotonic()
        result = run_recbole(config_dict={**content["settings"], **own})["test_result"]
        minutes = (time.monotonic() - start) / 60
        table.append(f"{name:<26}{result['auc']:>10.6f}{result['logloss']:>10.6f}{minutes:>10.1f}")
    print("\n".join(["", "test results on the same rows", *table]))


if __name__ == "__main__":
    main()
