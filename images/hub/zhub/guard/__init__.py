"""The guard: the only process with the engine's socket. It makes the hub's calls to the engine.

The hub speaks the engine's own API to it. The guard knows only the calls that the spawner makes. It
never forwards a request: it parses it, checks it, and makes a call of its own.
"""
