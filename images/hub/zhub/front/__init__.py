"""In front of the hub: the proxy, its key and certificate, and limits for callers."""
