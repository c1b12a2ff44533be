"""What turns raw rows into what a model reads, as plain data."""
