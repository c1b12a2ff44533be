"""Relevance of texts as an incentive, after PRINT (Hong et al., 2024), with the faults of its code repaired."""

from recbole_clickprompt.methods.print_repaired.method import PRINTRepairedMethod

__all__ = ["METHODS"]

METHODS = (PRINTRepairedMethod(),)
