"""Attacks from users' servers on a swarm.

Those on one engine, as they are, from a server on the manager's engine on one that is elsewhere;
and what is different for a server that is on neither.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack

import pytest
from docker.models.containers import Container

from tests.engine.attacks.conftest import REFUSED, accept
from tests.engine.attacks.test_network import (
    connected,
    test_a_broadcast_of_one_user_is_not_heard_by_another,
    test_another_users_server_does_not_answer_by_any_name_or_address,
    test_ipv6_is_no_way_around_the_filter,
    test_no_kind_of_datagram_reaches_the_engines_machine,
    test_no_option_of_a_socket_connects_to_the_engines_machine,
    test_published_ports_of_other_containers_do_not_answer,
    test_the_directory_does_not_answer,
    test_the_engines_machine_and_the_clouds_metadata_do_not_answer,
    test_the_hub_answers_in_the_users_own_network_only,
    test_the_servers_files_name_no_other_hosts,
)
from tests.engine.attacks.test_server import (
    test_a_server_has_no_way_to_more_rights,
    test_no_program_reaches_into_the_server_or_the_first_process,
    test_nothing_of_the_engine_the_hub_or_another_user_is_there,
    test_the_first_process_can_be_neither_stopped_nor_killed,
    test_the_servers_port_cannot_be_bound_twice,
    test_the_servers_processes_have_no_capabilities,
    test_users_cannot_write_the_servers_program_files,
)
from tests.engine.swarm.conftest import SwarmTenant
from tests.engine.swarm.engines import SwarmEngines

pytestmark = [pytest.mark.engine, pytest.mark.long]

__all__ = [
    "test_a_broadcast_of_one_user_is_not_heard_by_another",
    "test_a_server_has_no_way_to_more_rights",
    "test_another_users_server_does_not_answer_by_any_name_or_address",
    "test_ipv6_is_no_way_around_the_filter",
    "test_no_kind_of_datagram_reaches_the_engines_machine",
    "test_no_option_of_a_socket_connects_to_the_engines_machine",
    "test_no_program_reaches_into_the_server_or_the_first_process",
    "test_nothing_of_the_engine_the_hub_or_another_user_is_there",
    "test_published_ports_of_other_containers_do_not_answer",
    "test_the_directory_does_not_answer",
    "test_the_engines_machine_and_the_clouds_metadata_do_not_answer",
    "test_the_first_process_can_be_neither_stopped_nor_killed",
    "test_the_hub_answers_in_the_users_own_network_only",
    "test_the_servers_files_name_no_other_hosts",
    "test_the_servers_port_cannot_be_bound_twice",
    "test_the_servers_processes_have_no_capabilities",
    "test_users_cannot_write_the_servers_program_files",
]


def test_a_server_on_a_worker_reaches_no_machine_of_the_swarm_and_no_other_server(
    engines: SwarmEngines,
    carol: SwarmTenant,
    alice: SwarmTenant,
    mallory: SwarmTenant,
    directory: Container,
) -> None:
    with ExitStack() as listeners:
        targets = []
        for node in engines.nodes:
            with node.machine():
                listener = listeners.enter_context(socket.create_server(("0.0.0.0", 0)))  # noqa: S104
            threading.Thread(target=accept, args=[listener], daemon=True).start()
            port = listener.getsockname()[1]
            targets.append((node.apart.inner, port))
            # Outside of users' servers, all of them are reached.
            socket.create_connection((node.apart.inner, port), timeout=5).close()
            if node is carol.node:
                targets.append((carol.gateway, port))
        # Where the swarm's managers listen, and all engines of a swarm.
        targets += [(engines.manager.apart.inner, port) for port in (2377, 7946)]
        [network] = directory.attrs["NetworkSettings"]["Networks"].values()
        targets += [
            (network["IPAddress"], 389),
            (alice.address, 8888),
            (mallory.address, 8888),
            (alice.hub_address, 8081),
        ]
        found = connected(carol, *targets)
    assert set(found.values()) == {REFUSED}, found
    own = connected(carol, ("hub", 8081), (carol.name, 8888))
    assert set(own.values()) == {"reached"}


def test_a_process_that_somebody_starts_in_a_server_has_the_same_walls(carol: SwarmTenant) -> None:
    """What the engine has set for the container, and not only for what its entry has started."""
    options = carol.container.attrs["HostConfig"]
    assert "no-new-privileges" in " ".join(options["SecurityOpt"])
    assert any(one.startswith("seccomp={") for one in options["SecurityOpt"])
    assert json.dumps(options["CapDrop"]) == '["ALL"]'
