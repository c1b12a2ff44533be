"""The settings, each declared once: checks, fingerprints, property files and docs/configuration.md follow."""
