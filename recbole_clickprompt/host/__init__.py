"""Everything that knows RecBole's insides: registration, property files, settings, data set, checkpoints."""
