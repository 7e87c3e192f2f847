"""The hub image: checks what it was given, drops its privileges and runs JupyterHub."""
