"""All code that depends on RecBole's internals: registration, property files, settings, data sets, checkpoints."""
