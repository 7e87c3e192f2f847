"""Provider plugins in Python, for machines without Pulumi's own binaries."""
