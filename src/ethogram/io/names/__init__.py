"""Names of devices in files that users already have: one module per format, none of which knows about flows."""
