"""Generative networks, their training and sampling."""
