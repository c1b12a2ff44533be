"""Search of settings: spaces, trials and RecBole's search over them."""
