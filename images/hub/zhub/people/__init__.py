"""People who come and go: what operators do with users and their servers."""

SCOPES = ("list:users", "read:users", "read:tokens", "servers", "delete:users")
"""What the service `people` may do: nothing that leads into a user's server.

https://jupyterhub.readthedocs.io/en/stable/rbac/scopes.html
"""
