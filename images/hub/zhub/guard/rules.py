"""The texts of the packet filters that a stack's settings and machine ask for."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from zhub.contract import hub_address
from zhub.guard import filters
from zhub.guard.machine import Machine
from zhub.guard.sight import Sight
from zhub.settings import GuardSettings


def reach(
    settings: GuardSettings,
    machine: Machine,
    pools: Sequence[IPv4Network],
    *,
    counted: bool,
) -> filters.Reach:
    """Return what all users' servers on a machine may reach.

    Args:
        settings: of the stack.
        machine: as it was seen last.
        pools: where users' networks are.
        counted: whether the machine can limit how many connections a server has.
    """
    networks = filters.by_width(
        open_=settings.user_allowed_networks,
        closed=(
            *filters.ALWAYS_CLOSED,
            *settings.user_blocked_networks,
            # Those in the pool come and go with users; the rule for the whole pool closes them.
            *(own for own in machine.addresses if not any(map(own.subnet_of, pools))),
        ),
    )
    servers = {one for one in machine.name_servers if not machine.has(one)}
    return filters.Reach(
        pools=pools,
        name_servers=servers if settings.user_internet else (),
        networks=networks,
        internet=settings.user_internet,
        counted=counted,
    )


class Rules:
    """Writes them. What is the same for all servers is worked out once for each look."""

    def __init__(self, settings: GuardSettings, *, counted: bool) -> None:
        self._settings = settings
        self._counted = counted
        self._last: tuple[Sight, filters.Reach] | None = None

    def of_server(self, sight: Sight, subnet: IPv4Network) -> str:
        """Return the filter of a user's server in a network."""
        last = self._last
        if not last or last[0] is not sight:
            found = reach(self._settings, sight.machine, self._pools(sight), counted=self._counted)
            last = self._last = sight, found
        return filters.of_server(subnet, IPv4Address(hub_address(subnet)), last[1])

    def of_hub(self, sight: Sight) -> str:
        """Return the hub's filter."""
        settings, machine, pools = self._settings, sight.machine, self._pools(sight)
        # In internal networks the machine has no address, and a server that an older release
        # started on Docker 28 may have the first one. So only addresses that the machine still has
        # from earlier networks are closed.
        left = [own for own in machine.addresses if any(map(own.subnet_of, pools))]
        return filters.of_hub(
            settings.hub_port,
            pools=pools,
            machine=left if settings.internal else None,
            name_servers=machine.name_servers,
            directory=sight.directory,
        )

    def _pools(self, sight: Sight) -> list[IPv4Network]:
        """Return where users' networks are: in the pool, and those from before it was changed."""
        return [self._settings.user_network_pool, *sight.outside]
