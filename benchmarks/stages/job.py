"""What to measure, and the results; both are passed between processes as JSON."""

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
    """One implementation of a stage.

    Attributes:
        name: Name in the table.
        kind: ``reference``, ``ours``, or ``host`` for RecBole's trainer on a plain backbone.
        settings: Settings that override those of the job.
    """

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


# The first of each group is the baseline
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
# Interaction layers are an approximation: compared with our exact model, in inference with the backbone
_JOINT = tuple(
    Contender(f"ours bf16, {layers} joint", "ours", {"enable_amp": True, "plm_interaction_layers": layers})
    for layers in (2, 1)
)
_JOINT_TRAINING = (Contender("ours bf16, exact", "ours", {"enable_amp": True}), *_JOINT)
# A backbone always predicts in float32
_BACKBONE_ALONE = (
    Contender("backbone alone", "host"),
    Contender("RecBole's class", "host", {"backbone_class": "host"}),
)
_JOINT_INFERENCE = (*_BACKBONE_ALONE, *_JOINT)
_BACKBONE_INFERENCE = (*_BACKBONE_ALONE, Contender("ours float32", "ours"))

_BY_STAGE = {
    "joint-pamlm": _JOINT_TRAINING,
    "joint-finetune": _JOINT_TRAINING,
    "joint-inference": _JOINT_INFERENCE,
    "backbone": _BACKBONE,
    "backbone-inference": _BACKBONE_INFERENCE,
}


def contenders(stage: str, variants: list[dict[str, Any]]) -> list[Contender]:
    """The contenders of a stage, the baseline first; ``variants`` are settings of additional ones."""
    standard = _BY_STAGE.get(stage, _PLM)
    further = [
        Contender("ours, " + ", ".join(f"{key}={value}" for key, value in settings.items()), "ours", settings)
        for settings in variants
    ]
    return [*standard, *further]


@dataclass
class Job:
    """A benchmark.

    Attributes:
        dataset: Name of the data set.
        settings: Settings of the models, which override the property files.
        stages: Subset of ``STAGES``.
        batches: Rows per step of the stages with a PLM.
        backbone_batches: Rows per step of the stages without one.
        repeats: Timed rounds; in each, every contender processes the same rows.
        epoch_rows: Rows of an epoch of plain backbones, the unit that is timed in their training.
        threads: CPU threads; None: torch's choice.
        device: ``cpu`` or ``cuda``.
        keep_memory: Keep freed memory in the process instead of using glibc's defaults.
        variants: Settings of additional contenders.
        only: Parts of names; besides the first contender only those whose names contain one are timed. None: all.
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
        """The contenders of a stage that are timed."""
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
        stage: Name of the stage.
        batch: Rows per step.
        contender: Name of the contender.
        rows_per_s: Median over the rounds.
        ratio: Speed relative to the first contender of stage and batch, the median of the ratios within rounds.
        gflop_per_row: Counted operations of matrix products and attention.
        share_of_peak: Relative to the matrix products measured in the same run, in the contender's precision.
        memory_mb: Peak above the memory before the first step; None if not measured.
        memory_ratio: Relative to the first contender.
        loss: Loss of the first turn, in training stages.
        attention: torch's names of the attention kernels; ``math`` if none was used.
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
