"""Biflows to the flow table: deduplicate, join, pair, assign devices, decide the service side, name remotes."""
