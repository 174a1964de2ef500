"""Fuzz targets: one for each parser, with seeds of our own making."""
