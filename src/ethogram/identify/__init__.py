"""Fingerprints to verdicts: the library, matching, thresholds, evidence, and baselines behind one interface."""
