"""The benchmark of local teachers, on a small random model."""

import re

from benchmarks import teacher
from tests.knowledge.test_local import save


def test_it_compares_batches_with_single_calls(tmp_path, capsys):
    assert teacher.main([f"--teacher={save(tmp_path)}", "--answers=6", "--answer-tokens=8"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^\| in batches \| \d+\.\d{3} \| \d+ \|$", out, re.MULTILINE)
    assert re.search(r"^\| `generate` for each \| \d+\.\d{3} \| \d+ \|$", out, re.MULTILINE)
    assert re.search(r"[\d.]+x as many answers in the same CPU time; 6 answers of local:", out)
    assert teacher.main(["--answers=0"]) == 2
    assert "--answers must be 1 or more, got 0" in capsys.readouterr().err
    assert teacher.main([f"--teacher={tmp_path / 'gone'}"]) == 2
    assert "there is no such folder" in capsys.readouterr().err
