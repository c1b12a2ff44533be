"""The benchmark of CTRL's memory, on ``tiny``."""

import json

from benchmarks import ctrl_memory


def test_it_prints_peak_memory_and_the_same_loss_for_one_and_two_passes(small, capsys):
    small = {**small, "backbone": "DCNV2", "plm_dropout": 0.0}
    names = ("pretrain_batch_size", "micro_batch_size", "show_progress")
    settings = [f"--{key}={json.dumps(value)}" for key, value in small.items() if key not in names]
    losses = []
    for size in (16, 100):
        assert ctrl_memory.main(["--dataset=tiny", "--batch=100", f"--micro-batch={size}", *settings]) == 0
        cells = capsys.readouterr().out.splitlines()[-1].strip("| ").split(" | ")
        assert cells[:2] == ["100", str(size)]
        before, peak = (float(cell.removesuffix(" GiB")) for cell in cells[5:7])
        assert 0 < before <= peak < 8
        losses.append(cells[-1])
    assert losses[0] == losses[1]
    assert ctrl_memory.main(["--dataset=tiny", "--batch=100000", *settings]) == 2
    assert "--batch is 100000, but tiny has " in capsys.readouterr().err
    assert ctrl_memory.main(["--steps=0"]) == 2
    assert "--steps must be 1 or more, got 0" in capsys.readouterr().err
