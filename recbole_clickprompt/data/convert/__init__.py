"""From the files that publishers offer, and from a user's own table, to RecBole's atomic files."""
