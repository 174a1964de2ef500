"""Readers and writers: bytes and files to packets or flows. This room knows no devices and no labels."""
