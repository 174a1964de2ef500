"""Exports: devices of an inventory in the formats of other tools, one module a format."""
