"""Data preparation: files of publishers and users to RecBole's atomic files."""
