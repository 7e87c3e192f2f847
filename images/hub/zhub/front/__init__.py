"""What stands before the hub: the proxy, its key and certificate, and limits for callers."""
