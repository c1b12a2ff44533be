"""Converts the files of publishers, and tables of users, to RecBole's atomic files."""
