"""Backbone, prompts, PLM and the two models made of them."""
