"""Flow representations: vectors of custom flows, encoders, reconstruction."""
