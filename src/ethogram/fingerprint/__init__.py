"""Flows to counts, counts to representations, epochs to exported fingerprints, and how stable those are."""
