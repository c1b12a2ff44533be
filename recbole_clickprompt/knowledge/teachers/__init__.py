"""Where answers come from: a file, a model on this machine, or a server."""
