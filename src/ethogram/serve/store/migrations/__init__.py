"""Migrations of the store; each file brings one schema to the next."""
