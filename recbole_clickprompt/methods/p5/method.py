"""P5 as a method: an encoder-decoder alone, without a stage before finetuning."""

from __future__ import annotations

from collections.abc import Mapping

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.base import Method, check_text_fields
from recbole_clickprompt.methods.p5.settings import SETTINGS
from recbole_clickprompt.settings.declaration import Setting
from recbole_clickprompt.settings.values import Settings

__all__ = ["P5Method"]

_REASONS = {
    "pre_model_path": "P5 has no stage before finetuning",
    "history_length": "P5 has no CTR model to read histories",
    "init_from_text": "P5 has no CTR model whose embeddings could start from text",
    "plm_num_layers": "P5 trains all layers of its encoder-decoder",
    "plm_interaction_layers": "P5 trains all layers of its encoder-decoder",
    "plm_lora": "P5 trains all weights of its encoder-decoder",
    "plm_gradient_checkpointing": "P5 stores the activations of its encoder-decoder",
}


class P5Method(Method):
    """An encoder-decoder that answers "yes" or "no" to a question about the text of the row."""

    name = "P5"
    serves_text = True
    prediction_columns = {"logit_plm": 'logit of "yes" minus logit of "no"'}

    def settings(self) -> Mapping[str, Setting]:
        return SETTINGS

    def check(self, settings: Settings) -> None:
        """Raises SettingError for settings that nothing would read, or if ``text_fields`` is missing."""
        check_text_fields(settings)
        for name in filter(settings.__contains__, _REASONS):
            if settings[name]:
                raise SettingError(f"{name} has no effect: {_REASONS[name]}; leave it out")

    def model_class(self) -> type:
        from recbole_clickprompt.methods.p5.model import P5

        return P5
