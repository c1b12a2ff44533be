"""Declarations of all settings; checks, fingerprints, property files and docs/configuration.md use them."""
