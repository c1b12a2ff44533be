"""ClickPrompt (Lin et al., WWW 2024): a CTR model generates prompts for every layer of a language model."""
