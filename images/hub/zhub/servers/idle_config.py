"""The idle culler's configuration, in stacks with profiles."""

from zhub.servers import idle

c = get_config()  # type: ignore[name-defined] # the culler gives it to this file
c.IdleCuller.cull_arbiter_hook = idle.arbiter()
