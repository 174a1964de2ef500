"""Small inputs modelled on what users reported, each with its command and what a user may expect."""
