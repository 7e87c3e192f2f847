"""`make backup` and `make restore`: a stack's database, homes and Pulumi state as files.

All work on the engine is done by short-lived containers of the hub's own image, and the data is
streamed through the `docker` command: no path of this machine is used on the engine's machine.
"""
