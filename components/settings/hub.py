"""Settings of the hub's own container and of what it keeps."""

from __future__ import annotations

from components.settings import parsing
from components.settings.deployed import Deployed
from components.settings.setting import Setting

HUB_MEMORY = Setting(
    "hubMemory", "1G", "Memory of the hub, such as 512M or 2G", parsing.size("256M")
)
SEPARATE_PROXY = Setting(
    "separateProxy",
    False,
    "Run the proxy in a container of its own, so that connections to servers outlive a hub that is"
    " updated or restarted",
    parsing.boolean,
    example="true",
)
PROTECT = Setting(
    "protect",
    True,
    "Have Pulumi refuse to delete the volume with the hub's state",
    parsing.boolean,
)
RETAIN = Setting(
    "retain",
    False,
    "Have `pulumi destroy` leave the hub's database and the audit log on the engine, where the next"
    " up finds them;"
    " protect does not refuse that",
    parsing.boolean,
)


def less_memory(memory: int, before: Deployed) -> bool:
    """Whether the hub's container may take more than these MiB now."""
    return before.hub_memory is not None and memory < before.hub_memory


def changes(memory: int, before: Deployed) -> list[str]:
    """What to know before an `up` that leaves the hub less memory."""
    if not less_memory(memory, before):
        return []
    return [
        (
            f"hubMemory goes down from {before.hub_memory}M to {memory}M: the hub's container is"
            " replaced, since one that uses more cannot be given less. A hub that needs more than"
            " that does not come up, and this up fails"
        )
    ]
