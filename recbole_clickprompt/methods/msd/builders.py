"""Builds the parts of the CTR model from the settings of a run."""

from __future__ import annotations

from pathlib import Path

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.msd.distillation_settings import distillation_seed
from recbole_clickprompt.methods.msd.encoder import StudentEncoder
from recbole_clickprompt.methods.msd.fusion import NearItems, SimilarityHistogram
from recbole_clickprompt.methods.msd.student_texts import StudentTexts, StudentTokenizer
from recbole_clickprompt.methods.msd.student_vectors import StudentTables, StudentVectors
from recbole_clickprompt.methods.text_vectors.adaptors import Adaptor
from recbole_clickprompt.methods.text_vectors.answers import with_phrases
from recbole_clickprompt.methods.text_vectors.level import Level
from recbole_clickprompt.plm.generative import load_generative, num_positions
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.descriptions import descriptions, profile_descriptions
from recbole_clickprompt.text.source import TextSource

__all__ = ["build_near_items", "build_text_tables", "texts_of"]

_UNLIMITED = 1 << 20  # tokens; T5's positions are relative


def build_text_tables(config: Settings, dataset: TextSource) -> StudentTables:
    """The student with the weights of its files, and the levels of texts that the settings ask for.

    Args:
        config: Settings of the run.
        dataset: With texts; or in serving without.

    Raises:
        SettingError: As for ``StudentEncoder``, or ``text_fields`` has no feature of items.
        WeightsError: The student cannot be obtained.
    """
    encoder, tokenize = _build_student(config)
    student = StudentVectors(
        encoder,
        tokenize,
        folder=Path(config["checkpoint_dir"]),
        random=config["vectors"] == "random",
        enable_amp=config["enable_amp"],
        show_progress=config["show_progress"],
    )
    return StudentTables(student, _build_levels(config, dataset, tokenize, width=encoder.width))


def build_near_items(config: Settings) -> NearItems | SimilarityHistogram | None:
    """The fusion of near items; None with ``fusion: none``."""
    if config["fusion"] == "none":
        return None
    if config["fusion"] == "histogram":
        return SimilarityHistogram(config["embedding_size"])
    return NearItems(
        config["embedding_size"],
        count=config["near_items"],
        fusion=config["fusion"],
        temperature=config["fusion_temperature"],
    )


def _build_student(config: Settings) -> tuple[StudentEncoder, StudentTokenizer]:
    loaded = load_generative(config["student"], num_layers=config["student_num_layers"])
    encoder = StudentEncoder(
        loaded.model,
        upper_layers=config["lora_layers"],
        lora=config["plm_lora"],
        pooling=config["student_pooling"],
        trained=config["train_texts"] != "none" and config["vectors"] == "student",
    )
    tokenize = StudentTokenizer(
        loaded.tokenizer,
        max_length=_max_length(config["max_text_length"], num_positions(loaded.model)),
        encoder_decoder=loaded.encoder_decoder,
    )
    return encoder, tokenize


def _max_length(wanted: int | None, positions: int | None) -> int:
    """Most tokens of a text: ``max_text_length``, or as many as the student has positions for."""
    if wanted is None:
        return positions or _UNLIMITED
    if positions is not None and wanted > positions:
        raise SettingError(f"max_text_length is {wanted}, but the student has {positions} positions; lower it")
    return wanted


def _build_levels(
    config: Settings, dataset: TextSource, tokenize: StudentTokenizer, *, width: int
) -> dict[str, Level]:
    fields = {"item": config["ITEM_ID_FIELD"]}
    if config["user_knowledge"] != "none":
        fields["user"] = config["USER_ID_FIELD"]
    has_texts = hasattr(dataset, "textualizer")
    return {
        name: Level(
            name,
            StudentTexts(tokenize, name, texts_of(config, dataset, name)) if has_texts else None,
            ids=dataset.num(field),
            adaptor=Adaptor(width, hidden=config["adaptor_size"], out=config["embedding_size"]),
            out=config["embedding_size"],
        )
        for name, field in fields.items()
    }


def texts_of(config: Settings, dataset: TextSource, level: str) -> list[str]:
    """The texts of a level: of items by id, of users by profile.

    Raises:
        SettingError: ``text_fields`` has no feature of items.
        DataError: With ``read_answers``: a file of ``knowledge`` cannot be used.
    """
    if level == "user":
        return profile_descriptions(dataset)
    texts = descriptions(dataset, level)
    if not config["read_answers"]:
        return texts
    keys = [str(dataset.id2token(dataset.iid_field, item)) for item in range(len(texts))]
    return with_phrases(config, texts, keys, seed=distillation_seed(config))
