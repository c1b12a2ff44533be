"""The preprocessing that turns raw rows into model inputs, stored as plain data."""
