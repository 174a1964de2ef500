"""Labelled corpora, splits that prove they are disjoint, tasks, metrics and reports."""
