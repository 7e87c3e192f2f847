"""Provider plugins in Python, for hosts where Pulumi's own binaries cannot be had."""
