"""The benchmark of distillation counts what it says."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.distillation import main, work_of
from recbole_clickprompt.methods.msd.student import Part
from recbole_clickprompt.plm.continuation_loss import continuation_loss
from recbole_clickprompt.plm.generative import load_generative
from tests.methods.msd.distilled_method import student_folder


def test_it_counts_the_products_that_torch_counts():
    student = load_generative(student_folder()).model
    part = Part([[5, 6, 7], [8, 9, 10]], [[11, 12, 13, 0], [14, 15, 16, 0]])
    work = work_of(student, [part], candidates=student.config.vocab_size)
    assert (work.tokens, work.targets, work.padded) == (12, 8, 12)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        continuation_loss(student, part.inputs, part.targets, head_scale=1.0)
    counted = counter.get_flop_counts()["Global"]
    linear = sum(count for name, count in counted.items() if "mm" in str(name))
    attention = 2 * 2 * 6**2 * 32 * 2  # texts, products, Z x Z, width, layers
    assert work.total / 3 == linear + attention


def test_it_prints_the_ratio(capsys):
    options = ["--layers=1", "--knowledge=tiny-items", "--batch=4", "--rounds=1"]
    assert main([f"--student={student_folder()}", *options]) == 0
    out = capsys.readouterr().out
    assert "4 answers in 1 parts" in out
    assert "ratio: 0." in out
    assert main([f"--student={student_folder()}", "--batch=100", "--knowledge=tiny-items"]) == 2
    assert "fewer than --batch" in capsys.readouterr().err
