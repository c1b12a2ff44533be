"""All file types that are fuzzed."""

from tests.fuzz.case import Case
from tests.fuzz.cases import atomic, command_line, configs, models, results, tables, training

CASES: list[Case] = [
    tables.UserTable(), tables.RowsToScore(), atomic.AtomicFile(), configs.PropertyFile(),
    configs.DataSetProperties(),
    configs.GridFile(), configs.SearchFile(), results.ResultTable(), results.RunFolder(), models.Checkpoint(),
    models.Preprocessing(), models.Export(), models.Published(), training.StageCheckpoint(),
    training.ResumeState(), training.PlmFolder(),
    training.RawFiles(), command_line.CommandLine(),
]  # fmt: skip
