"""Tasks on counts of services: fingerprint methods on closed and open sets, and over sweeps."""
