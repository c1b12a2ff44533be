"""The text of a row: sentences, tokens, masks, and states of each user's and item's text."""
