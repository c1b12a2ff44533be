"""Builds the parts of the CTR model from the settings of a run."""

from __future__ import annotations

from torch import nn

from recbole_clickprompt.methods.msd.encoder import StudentEncoder
from recbole_clickprompt.methods.msd.level import Level
from recbole_clickprompt.methods.msd.student_texts import StudentTexts, StudentTokenizer
from recbole_clickprompt.methods.msd.texts import descriptions, profile_descriptions
from recbole_clickprompt.plm.generative import load_generative
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.text.source import TextSource

__all__ = ["build_levels", "build_student", "texts_of"]


def build_student(config: Settings) -> tuple[StudentEncoder, StudentTokenizer]:
    """The student with the weights of its files, and its tokenizer.

    Raises:
        SettingError: The student does not support ``lora_layers`` or ``plm_lora``.
        WeightsError: The student cannot be obtained.
    """
    loaded = load_generative(config["student"], num_layers=config["student_num_layers"])
    encoder = StudentEncoder(
        loaded.model,
        upper_layers=config["lora_layers"],
        lora=config["plm_lora"],
        trained=config["train_texts"] != "none" and config["vectors"] == "student",
    )
    tokenize = StudentTokenizer(
        loaded.tokenizer, max_length=config["max_text_length"], encoder_decoder=loaded.encoder_decoder
    )
    return encoder, tokenize


def build_levels(
    config: Settings, dataset: TextSource, tokenize: StudentTokenizer, *, width: int
) -> nn.ModuleDict:
    """The levels of texts that the settings ask for, by name: items, and users unless ``user_knowledge: none``.

    Args:
        config: Settings of the run.
        dataset: With texts; or in serving without.
        tokenize: Of the student.
        width: W of the student.

    Raises:
        SettingError: ``text_fields`` has no feature of items.
    """
    fields = {"item": config["ITEM_ID_FIELD"]}
    if config["user_knowledge"] != "none":
        fields["user"] = config["USER_ID_FIELD"]
    has_texts = hasattr(dataset, "textualizer")
    return nn.ModuleDict(
        {
            name: Level(
                name,
                StudentTexts(tokenize, name, texts_of(dataset, name)) if has_texts else None,
                ids=dataset.num(field),
                width=width,
                hidden=config["adaptor_size"],
                out=config["embedding_size"],
            )
            for name, field in fields.items()
        }
    )


def texts_of(dataset: TextSource, level: str) -> list[str]:
    """The texts of a level: of items by id, of users by profile.

    Raises:
        SettingError: ``text_fields`` has no feature of items.
    """
    return profile_descriptions(dataset) if level == "user" else descriptions(dataset, level)
