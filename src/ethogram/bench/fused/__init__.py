"""Tasks on fingerprints and embeddings together, across networks."""
