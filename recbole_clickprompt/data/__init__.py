"""The text of a row, its tokens and their masking."""
