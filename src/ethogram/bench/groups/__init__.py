"""Tasks on groups of unknown devices."""
