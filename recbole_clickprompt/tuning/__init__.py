"""Hyper-parameter search: spaces, trials, and RecBole's search over them."""
