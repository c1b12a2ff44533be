"""What a process of the benchmark is given."""

import subprocess

import pytest

from benchmarks.stages.job import Job
from benchmarks.stages.process import KEEP_MEMORY, ChildError, measure_time


@pytest.mark.parametrize("keep", [False, True])
def test_memory_is_kept_where_it_is_asked_for_and_else_not_even_if_the_shell_does(keep, monkeypatch):
    given = {}

    def run(command, *, env, **_):
        given.update(env)
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setenv("MALLOC_TOP_PAD_", "12345")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ChildError, match="ended with code 7"):
        measure_time(Job(keep_memory=keep, threads=3))
    assert given["OMP_NUM_THREADS"] == "3"
    assert {key: given.get(key) for key in KEEP_MEMORY} == (KEEP_MEMORY if keep else dict.fromkeys(KEEP_MEMORY))
