"""One declaration per setting, from which everything else follows."""

import pytest
from recbole.evaluator.register import metric_types
from recbole.utils import EvaluatorType

from recbole_clickprompt.host.properties import load_properties
from recbole_clickprompt.settings.declaration import Elsewhere, Setting
from recbole_clickprompt.settings.old_names import DROPPED, RENAMED
from recbole_clickprompt.settings.recbole_types import METRIC
from recbole_clickprompt.settings.registry import declare, declared, methods, methods_of, of_stage, settings_of
from recbole_clickprompt.settings.types import integer, real
from recbole_clickprompt.settings.write import generated_files
from recbole_clickprompt.trainer.fingerprint import settings_of_finetuning, settings_without_effect

METHODS = [
    "ClickPrompt", "ClickPromptNoPLM", "PTab", "MSD", "CTRBERT", "CTRL", "FLIP", "P5", "KAR", "QARMLike", "LLaCTR",
    "SuKDLike", "NumBERTLike", "BERT4CTRLike", "CharMatchLike", "PRINTRepaired",
]  # fmt: skip
# Written by hand, so that a declaration with the wrong stage is noticed
FINETUNING = {
    "model", "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "train_stage", "pre_model_path", "epochs",
    "train_batch_size", "learning_rate", "plm_learning_rate", "weight_decay", "warmup_ratio", "lr_scheduler",
    "prompt_dropout", "finetune_prompts", "plm_pooling", "fusion_weight", "fusion_learnable", "tower_loss_weight",
    "eval_step", "stopping_step", "eval_batch_size", "metrics", "topk", "valid_metric", "valid_metric_bigger",
    "metric_decimal_place", "loss_decimal_place", "valid_neg_sample_args", "test_neg_sample_args",
    "eval_neg_sample_args", "unseen_id_embeddings", "train_rows", "load_pretrained",
    "train_negatives", "pos_weight", "evals_per_epoch", "gauc_field", "tabular", "head_dropout",
    "lora_layers", "vectors", "train_texts", "train_user_texts", "refresh_steps", "adaptor_size",
    "student_pooling", "texts_per_step",
    "standardize_vectors", "fusion", "near_items", "fusion_temperature", "fuse_target", "unique_history",
    "mask_items", "mask_rate", "read_answers", "knowledge_vectors", "shared_experts", "level_experts",
    "code_levels", "codebook_size", "field_interaction_weight", "field_alignment_weight",
    "student_layers", "distill_weight", "number_buckets",
    "max_characters", "char_channels", "finetune_towers", "p5_ids", "warm_start_optimizer", "embedding_engine",
    "embedding_sharding", "row_sharding",
}  # fmt: skip
TEXT = {
    "plm_num_layers", "plm_interaction_layers", "plm_cached_masks", "plm_dropout", "plm_gradient_checkpointing",
    "plm_lora", "num_prompts", "prompt_strategy", "prompt_projection", "shuffle_text", "max_text_length",
    "mask_ratio", "mask_target", "mlm_candidates", "pretrain_plm_learning_rate", "micro_batch_size", "enable_amp",
    "backbone_amp", "text_fields", "value_labels",
}  # fmt: skip
WITHOUT_EFFECT = {
    "baselines", "checkpoint_minutes", "resume", "save_predictions", "gpu_id", "use_gpu", "device", "worker",
    "state", "show_progress", "verbose", "log_wandb", "wandb_project", "local_rank", "world_size", "offset",
    "nproc", "ip", "port", "single_spec", "plm", "checkpoint_dir", "data_path", "save_dataset",
    "dataset_save_path", "save_dataloaders", "dataloaders_save_path", "config_files", "config_file_list",
    "column_names", "list_separators", "sampled_negatives", "distill_evaluated", "phrase_references",
    "phrase_threshold", "warm_start",
}  # fmt: skip


def test_settings_affect_the_stages_that_read_them():
    assert settings_of_finetuning() == FINETUNING
    assert of_stage("text") == TEXT
    assert settings_without_effect() == WITHOUT_EFFECT


@pytest.mark.parametrize("path", generated_files(), ids=lambda path: path.name)
def test_generated_files_are_those_of_the_declarations(path):
    assert path.read_text() == generated_files()[path], "run `make settings`"


def test_the_page_has_every_setting_with_type_default_stage_and_meaning():
    (page,) = (text for path, text in generated_files().items() if path.name == "configuration.md")
    page, _, earlier = page.partition("## Settings of earlier versions")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert rows.keys() == declared().keys()
    assert "| `handover` | `load_pretrained` |" in earlier
    assert "| `save_step` | `checkpoint_minutes` |" in earlier
    assert rows["fusion_weight"] == (
        "| `fusion_weight` | a number from 0 to 1 | `0.5` (ClickPrompt), `0.0` (FLIP) | finetune "
        "| Initial weight of the backbone's logit, a. | ClickPrompt, FLIP |"
    )
    assert "| `4` (ClickPrompt), `10` (ClickPromptNoPLM), `10` (PTab), " in rows["epochs"]
    assert all(f"`{epochs}` ({method})" in rows["epochs"] for epochs, method in ((5, "MSD"), (10, "CTRL")))
    assert (
        "| `DCNV2`, `AutoInt` (CTRL), `DNN` (BERT4CTRLike), `DIN` (PRINTRepaired) | pretrain |" in rows["backbone"]
    )


@pytest.mark.parametrize("model", METHODS)
def test_a_run_has_the_declared_defaults(model):
    defaults = load_properties(model=model, dataset="unknown", external={})
    both = {**settings_of(""), **settings_of(model)}
    expected = {name: s.default for name, s in both.items() if not isinstance(s.default, Elsewhere)}
    assert {name: defaults[name] for name in expected} == expected


def test_every_default_is_possible():
    for method in ("", *methods()):
        for name, setting in settings_of(method).items():
            assert isinstance(setting.default, Elsewhere) or setting.accepts(setting.default), name


def test_every_setting_has_a_meaning_and_a_group():
    for name, setting in declared().items():
        assert setting.meaning.endswith("."), name
        assert setting.group, name


def test_what_the_method_reads_is_no_shared_setting():
    assert methods_of("num_prompts") == ["ClickPrompt", "ClickPromptNoPLM"]
    assert methods_of("fusion_weight") == ["ClickPrompt", "FLIP"]
    assert methods_of("seed") == [""]
    assert declared()["fusion_weight"].method == "ClickPrompt"


def test_a_setting_has_one_type_and_stage():
    with pytest.raises(ValueError, match="num_prompts is declared twice, with different types or stages"):
        declare({"num_prompts": Setting(real(), 1, "Another one.", "text")}, "Another")
    with pytest.raises(ValueError, match="num_prompts is declared twice"):
        declare({"num_prompts": Setting(integer(1), 1, "Another one.", "none")}, "Another")
    assert settings_of("Another") == {}


def test_old_names_are_none_of_todays():
    assert not (RENAMED.keys() | DROPPED.keys()) & declared().keys()
    assert set(RENAMED.values()) <= declared().keys()


def test_the_metrics_of_scores_are_those_of_recbole():
    for name, kind in metric_types.items():
        assert METRIC.accepts(name) == (kind is EvaluatorType.VALUE or name == "gauc"), name
