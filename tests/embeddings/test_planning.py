"""Which process holds which rows."""

import pytest

from recbole_clickprompt.embeddings.planning import collections, plan_tables
from recbole_clickprompt.errors import SettingError

pytest.importorskip("torchrec", reason="TorchRec is not installed")

from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torchrec.distributed.embedding import EmbeddingCollectionSharder


def plan(shapes, *, sharding="auto", memory=2**30, world=2, device="cpu"):
    return plan_tables(
        collections(shapes),
        EmbeddingCollectionSharder(fused_params={"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD}),
        sharding=sharding,
        device=device,
        world=world,
        local_world=min(world, 8),
        memory=memory,
        batch_size=64,
        reads=5.0,
    )


def shards(found, name):
    return [(shard.shard_offsets[0], shard.shard_sizes) for shard in found[name][name].sharding_spec.shards]


def test_rows_are_shared_in_blocks():
    found = plan({"item_table": (1001, 6)}, sharding="row_wise")
    assert shards(found, "item_table") == [
        (0, [501, 8]),
        (501, [500, 8]),
    ]  # FBGEMM's rows have a multiple of 4 numbers


def test_whole_tables_are_spread_over_the_processes():
    found = plan({"item_table": (1001, 8), "user_table": (999, 8)}, sharding="table_wise")
    assert shards(found, "item_table") == [(0, [1001, 8])]
    assert {found[name][name].ranks[0] for name in ("item_table", "user_table")} == {0, 1}


def test_the_planner_cuts_a_table_that_fits_no_process():
    found = plan({"item_table": (100_000, 32)}, memory=12 << 20)  # 13 MB, and 1.9 MB of the memory are reserved
    assert len(shards(found, "item_table")) == 2


def test_tables_for_which_there_is_no_place_are_an_error():
    with pytest.raises(SettingError, match="table_wise finds no place for tables of 0.0119 GiB in 2 processes"):
        plan({"item_table": (100_000, 32)}, sharding="table_wise", memory=12 << 20)


def test_a_billion_rows_are_planned_for_gpus_without_memory_of_their_size():
    found = plan({"item_table": (10**9, 32)}, world=16, device="cuda", memory=80 << 30)
    assert [size for _, size in shards(found, "item_table")] == [[62_500_000, 32]] * 16
