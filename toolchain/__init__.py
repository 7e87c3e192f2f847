"""How the Pulumi CLI, language host, plugins, engine and base images get onto a machine."""
