"""Labelled corpora: cards, loaders, and a user's own folder."""
