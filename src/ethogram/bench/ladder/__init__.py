"""The ladder of levels on networks and vendors left out: vendor, kind and family of devices nobody enrolled."""
