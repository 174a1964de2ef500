"""The page of the live service: rendered on the server, without a build step, nothing loaded from elsewhere."""
