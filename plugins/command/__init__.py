"""The `command` provider: programs run on the machine of the operator."""
