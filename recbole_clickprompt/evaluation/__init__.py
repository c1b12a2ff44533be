"""What finished runs say, as functions of tables."""
