"""Labelled corpora: cards that describe them, loaders that give their flows with labels, and a user's own folder."""
