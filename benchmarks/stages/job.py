"""What to measure, and what came out; both travel between processes as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["JOINT_STAGES", "PLM_STAGES", "STAGES", "Contender", "Figure", "Job", "contenders"]

PLM_STAGES = ("pamlm", "finetune", "inference")
JOINT_STAGES = ("joint-pamlm", "joint-finetune", "joint-inference")
BACKBONE_STAGES = ("backbone", "backbone-inference")
STAGES = (*PLM_STAGES, *JOINT_STAGES, *BACKBONE_STAGES)


@dataclass(frozen=True)
class Contender:
    """One way to do a stage.

    Attributes:
        name: In the table.
        kind: ``reference``, ``ours``, or ``host`` for RecBole's own trainer on a plain backbone.
        settings: Over those of the job.
    """

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


# The first of each is what the others are compared with
_PLM = (
    Contender("plain reference", "reference"),
    Contender("ours float32", "ours"),
    Contender("ours bf16", "ours", {"enable_amp": True}),
)
_BACKBONE = (
    Contender("RecBole", "host", {"backbone_class": "host"}),
    Contender("RecBole's trainer, our class", "host"),
    Contender("ours float32", "ours"),
    Contender("ours bf16", "ours", {"enable_amp": True, "backbone_amp": True}),
)
# Another model than the exact one: what its time is held to is ours, or at inference the backbone's
_JOINT = tuple(
    Contender(f"ours bf16, {layers} joint", "ours", {"enable_amp": True, "plm_interaction_layers": layers})
    for layers in (2, 1)
)
_JOINT_TRAINING = (Contender("ours bf16, exact", "ours", {"enable_amp": True}), *_JOINT)
# A backbone predicts in float32 whatever it was trained in
_BACKBONE_ALONE = (
    Contender("backbone alone", "host"),
    Contender("RecBole's class", "host", {"backbone_class": "host"}),
)
_JOINT_INFERENCE = (*_BACKBONE_ALONE, *_JOINT)
_BACKBONE_INFERENCE = (*_BACKBONE_ALONE, Contender("ours float32", "ours"))

_OF_STAGE = {
    "joint-pamlm": _JOINT_TRAINING,
    "joint-finetune": _JOINT_TRAINING,
    "joint-inference": _JOINT_INFERENCE,
    "backbone": _BACKBONE,
    "backbone-inference": _BACKBONE_INFERENCE,
}


def contenders(stage: str, variants: list[dict[str, Any]]) -> list[Contender]:
    """Those of a stage, the plain form first; ``variants`` are settings of further ones of ours."""
    fixed = _OF_STAGE.get(stage, _PLM)
    further = [
        Contender("ours, " + ", ".join(f"{key}={value}" for key, value in settings.items()), "ours", settings)
        for settings in variants
    ]
    return [*fixed, *further]


@dataclass
class Job:
    """A benchmark.

    Attributes:
        stages: Of ``STAGES``.
        batches: Rows a step of the stages with a PLM.
        backbone_batches: Rows a step of those without.
        repeats: Timed rounds; in each every contender takes its turn on the same rows.
        epoch_rows: Rows of an epoch of the plain backbones' training, the unit that is timed there.
        threads: Of torch; None leaves its own choice.
        device: ``cpu`` or ``cuda``.
        keep_memory: Freed memory stays in the process; else as glibc has it.
        settings: Of the models, over the property files.
        variants: Settings of further contenders.
        only: Parts of names; of the contenders behind the first, those with one of them are timed. None is all.
    """

    dataset: str = "ml-100k"
    settings: dict[str, Any] = field(default_factory=dict)
    stages: list[str] = field(default_factory=lambda: list(STAGES))
    batches: list[int] = field(default_factory=lambda: [64, 256])
    backbone_batches: list[int] = field(default_factory=lambda: [256, 2048])
    repeats: int = 5
    epoch_rows: int = 40960
    threads: int | None = None
    device: str = "cpu"
    keep_memory: bool = False
    variants: list[dict[str, Any]] = field(default_factory=list)
    only: list[str] | None = None

    def timed(self, stage: str) -> list[Contender]:
        """The contenders of a stage that take part."""
        first, *others = contenders(stage, self.variants)
        parts = [""] if self.only is None else self.only
        return [first, *(c for c in others if any(part in c.name for part in parts))]

    def cells(self) -> list[tuple[str, int]]:
        """Stage and batch of each group of contenders, in the order of ``STAGES``."""
        return [
            (stage, batch)
            for stage in STAGES
            if stage in self.stages
            for batch in (self.backbone_batches if stage in BACKBONE_STAGES else self.batches)
        ]


@dataclass
class Figure:
    """One line of the table.

    Attributes:
        rows_per_s: Median over the rounds.
        ratio: To the first contender of stage and batch, the median over rounds of the ratio within a round.
        gflop_per_row: Counted, of matrix products and attention.
        share_of_peak: Of the matrix product measured in the same run, in the contender's precision.
        memory_mb: Peak above what the process holds before its first step; None where not measured.
        memory_ratio: To the first contender.
        loss: Of the first turn, where the stage trains.
        attention: Kernels that served attention, named as torch names them; ``math`` is none.
    """

    stage: str
    batch: int
    contender: str
    rows_per_s: float
    ratio: float
    gflop_per_row: float
    share_of_peak: float
    memory_mb: float | None = None
    memory_ratio: float | None = None
    loss: float | None = None
    attention: str = ""
