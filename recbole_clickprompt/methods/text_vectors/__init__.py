"""What methods share that read vectors of texts: teachers' answers, tables of vectors, and frozen encoders."""
