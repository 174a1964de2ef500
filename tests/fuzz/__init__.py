"""Fuzz targets, one per parser, with generated seeds."""
