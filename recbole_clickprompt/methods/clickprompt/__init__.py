"""ClickPrompt (Lin et al., WWW 2024): a CTR model generates prompts for every layer of a language model.

The CTR model and the language model are pretrained with prompt-augmented masked language modeling (``pamlm.py``),
replaced-item detection (``replaced_item.py``), or both. Then both are finetuned together (``ClickPrompt``), or the
CTR model alone (``ClickPromptNoPLM``).
"""

from recbole_clickprompt.methods.clickprompt.method import ClickPromptMethod, ClickPromptNoPLMMethod

__all__ = ["METHODS"]

METHODS = (ClickPromptMethod(), ClickPromptNoPLMMethod())
