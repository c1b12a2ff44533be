"""How a process learns its place among those of its run."""

import os

import pytest
import torch

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host import distributed
from recbole_clickprompt.host.distributed import is_distributed, set_rank_environment

PLACE = {"local_rank": 1, "nproc": 3, "offset": 4, "world": 8, "ip": "10.0.0.1", "port": 4711}
VARIABLES = {
    "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "3",
    "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4711",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_place(monkeypatch):
    for name in (*VARIABLES, "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is put back behind the test
        monkeypatch.delenv(name)


def test_the_place_is_told_as_torchrun_tells_it():
    assert not is_distributed()
    set_rank_environment(**PLACE)
    assert {name: os.environ[name] for name in VARIABLES} == VARIABLES
    assert is_distributed()


def test_one_process_alone_is_no_group(monkeypatch):
    for name, value in {**VARIABLES, "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert not is_distributed()


@pytest.mark.parametrize(("cores", "threads"), [(16, 5), (2, 1)])
def test_processes_share_the_cores(monkeypatch, cores, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    set_rank_environment(**PLACE)
    assert torch.get_num_threads() == threads


def test_threads_that_the_user_chose_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    set_rank_environment(**PLACE)
    assert torch.get_num_threads() == 1


def test_fewer_gpus_than_processes_are_refused(monkeypatch):
    set_rank_environment(**PLACE)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingError, match="gpu_id names 1 GPU.* for 3 processes"):
        distributed._join(torch.device("cuda"))
