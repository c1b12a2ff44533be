"""Speed and memory of the stages, next to a reference implementation and RecBole's own trainer."""
