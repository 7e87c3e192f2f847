"""The guard: the one process that has the engine's socket, and what it does with it for the hub.

The hub speaks the engine's own API to it. Of that the guard knows the calls the spawner makes, and
no others. It never passes a request on: what it understood and allows, it asks for itself.
"""
