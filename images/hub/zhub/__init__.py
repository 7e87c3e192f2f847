"""The hub image: checks its settings, drops its privileges and runs JupyterHub."""
