"""Readers of files in which users already have names of devices, one module per format."""
