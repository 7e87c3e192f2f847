"""The `docker` provider: Image, Container, Network and Volume over the engine's API."""
