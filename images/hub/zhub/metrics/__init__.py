"""The hub's metrics for Prometheus: its own, and those of guard and proxy, at one address."""
