"""The project's images measured beside images built the usual way: `make bench`."""
