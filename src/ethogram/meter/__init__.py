"""Meters: packets to flows."""
