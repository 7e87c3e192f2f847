"""The `tls` provider: private keys and self-signed certificates."""
