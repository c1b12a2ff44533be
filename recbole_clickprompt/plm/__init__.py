"""The pretrained language model: where its weights come from and how prompts enter it."""
