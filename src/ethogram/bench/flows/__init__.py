"""Tasks on custom flows: which encoder's embeddings tell devices apart, under splits that prove they do not leak."""
