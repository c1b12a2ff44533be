"""KAR (Xi et al., 2024): a teacher's knowledge as frozen vectors, adapted by experts, as fields of a CTR model."""

from recbole_clickprompt.methods.kar.method import KARMethod

__all__ = ["METHODS"]

METHODS = (KARMethod(),)
