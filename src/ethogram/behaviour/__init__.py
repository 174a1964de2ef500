"""Profiles of behaviour: learnt or read from MUD files, matched against traffic, with limits of volume."""
