"""The text of rows, its tokens, and masks; letters of shapes as in ``recbole_clickprompt.plm``."""
