"""Entry point of the hub image and its roles: the hub, its guard, and helpers of the hub.

`zhub [hub] --port=NUMBER --ldap=HOST[,HOST...]`, `zhub guard`, `zhub nodeguard`, `zhub recheck`,
`zhub people`, `zhub check-directory [USER]`, `zhub check-networks`, `zhub check-devices`,
`zhub use`, `zhub users [COMMAND]`, or `zhub metrics-token [--new]`.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import secrets
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from docker.errors import APIError, DockerException
from requests import RequestException

from zhub import audit, engine, heartbeat, logs, privileges, settings, watchdog
from zhub.front import certificates
from zhub.front.proxy import Launcher
from zhub.login import recheck
from zhub.metrics import token
from zhub.servers.networks import UserNetworks
from zhub.settings import Settings, SettingsError, collecting
from zhub.state import copies, database

CONFIG = Path(__file__).with_name("jupyterhub_config.py")

log = logging.getLogger("zhub")


def check_port(port: int) -> None:
    """Make sure that the proxy can listen on the port.

    Raises:
        SettingsError: when something else already does.
    """
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            reason = "is taken" if error.errno == errno.EADDRINUSE else str(error.strerror)
            fix = "choose another one with --port"
            if error.errno == errno.EACCES:
                fix += (
                    ", or start the container with --sysctl net.ipv4.ip_unprivileged_port_start=0"
                )
            raise SettingsError([f"port {port} {reason}: {fix}"]) from None


def check_state(folder: Path) -> None:
    """Make sure that the hub's user can keep the database and the cookie secret.

    Raises:
        SettingsError: when the folder cannot be written.
    """
    try:
        if os.geteuid() == 0:
            privileges.give(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError([f"{folder} cannot be written: {error.strerror}"]) from None


def checked(
    arguments: Sequence[str], environment: dict[str, str]
) -> tuple[Settings, certificates.Pair | None]:
    """Check all that the hub needs before it starts; put the arguments into the environment.

    Returns:
        The settings, and key and certificate of the port; None when the port is the proxy's.

    Raises:
        SettingsError: with everything that is wrong, not only the first thing.
    """
    problems: list[str] = []
    found = pair = None
    with collecting(problems):
        settings.add_arguments(environment, arguments)
    with collecting(problems):
        found = settings.read(environment)
    if not (found and found.separate_proxy):
        with collecting(problems):
            if found:
                check_port(found.port)
        with collecting(problems):
            pair = certificates.find(settings.CERTIFICATES)
    with collecting(problems):
        check_state(settings.STATE)
    with collecting(problems), closing(engine.connect()) as client:
        if found:
            engine.check(client, found)
    if problems or not found:
        raise SettingsError(problems)
    return found, pair


def take_files(environment: dict[str, str], folder: Path) -> None:
    """Copy secrets and the like to where the hub's user can read them; update the environment."""
    # With fixed names: files may have the same name, in different folders.
    for name, copy in (
        ("ZHUB_LDAP_CA_FILE", folder / "ldap-ca.pem"),
        ("ZHUB_LDAP_BIND_PASSWORD_FILE", folder / "ldap-password"),
        ("ZHUB_SERVICE_TOKENS_FILE", folder / "service-tokens.json"),
        ("ZHUB_CONFIG_FILE", folder / "hub_config.py"),
    ):
        if path := environment.get(name):
            copy.touch(mode=0o600)
            copy.write_bytes(Path(path).read_bytes())
            environment[name] = str(copy)


def prepare_database(file: Path, found: Settings, image: str) -> None:
    """Bring the hub's database in line with this release and its settings.

    Args:
        file: the database.
        found: the settings.
        image: the id of this hub's image.

    Raises:
        SettingsError: when it cannot be used.
    """
    from zhub.login import administrators

    try:
        copies.before_another_image(file, image)
        database.prepare(file, token_max_age=found.longest_token)
        if not found.admin_access:
            administrators.forget_shares(file)
    except (OSError, sqlite3.Error) as error:
        what_to_do = "free disk space, stop other programs that use it, or restore a backup"
        raise SettingsError([f"{file} cannot be used: {error}; {what_to_do}"]) from None


def run_hub(arguments: Sequence[str]) -> None:
    """Check, become the hub's user, start or wait for the proxy, and run JupyterHub until it ends.

    Raises:
        SettingsError: when the hub could not work with its settings.
    """
    environment = dict(os.environ)
    found, pair = checked(arguments, environment)
    for warning in found.warnings:
        log.warning(warning)

    root = os.geteuid() == 0
    private = Path("/run/zhub") if root else Path(tempfile.mkdtemp(prefix="zhub-"))
    private.mkdir(mode=0o700, exist_ok=True)
    if pair and root:
        # Nobody but root may be able to read the files themselves.
        pair = privileges.private_copy(pair, private)
    take_files(environment, private)
    if root:
        privileges.give(private, *private.iterdir())
        privileges.drop(engine.socket_path(environment))
    lives = watchdog.watched()

    client = engine.connect()
    if found.confined:
        # Before anyone can connect: whoever takes the hub over finds it closed.
        engine.confine(client)
    if pair:
        # Before JupyterHub is even imported: starting both takes long under emulation.
        environment["CONFIGPROXY_AUTH_TOKEN"] = secrets.token_hex(32)
        launcher = Launcher(found, pair, environment["CONFIGPROXY_AUTH_TOKEN"])
        launcher.running()
    guarded = engine.socket_path(environment) not in {None, engine.SOCKET}
    heartbeat.of_hub(found.prefix, guarded=guarded).start()
    if guarded:
        audit.begin(audit.to_guard(engine.connect()))
    audit.report("hub.start")
    for name, before, now in audit.changes(os.environ, settings.STATE / ".settings.json"):
        audit.report("setting", name=name, before=before, now=now)
    UserNetworks(
        client,
        prefix=found.prefix,
        hub=engine.own_container(),
        pool=found.user_network_pool,
        internal=found.internal,
    ).restore()
    image = client.inspect_container(engine.own_container())["Image"]
    prepare_database(database.FILE, found, image)
    checkpoints = database.Checkpoints(database.FILE)
    checkpoints.start()
    atexit.register(checkpoints.stop)
    os.environ.update(environment)
    from tornado.log import app_log

    from zhub.front.early_proxy import EarlyProxy
    from zhub.front.separate_proxy import wait_until_it_listens
    from zhub.metrics import handler
    from zhub.servers.hub import JupyterHub
    from zhub.servers.spawner import UserSpawner

    if pair:
        EarlyProxy.launcher = launcher
    else:
        wait_until_it_listens()
    # JupyterHub polls each server, and logs a traceback for each when the engine does not answer.
    app_log.addFilter(heartbeat.OneLine())
    UserSpawner.client = client
    handler.install(found, client, guarded=guarded)
    JupyterHub.lives = staticmethod(lives)
    JupyterHub.launch_instance(["--config", str(CONFIG)])


def run_guard(arguments: Sequence[str]) -> None:
    """Become the guard's user and serve the hub until SIGTERM.

    Raises:
        SettingsError: when the guard could not work with its settings.
    """
    from zhub.guard.service import run

    if arguments:
        raise SettingsError([f"the guard takes no arguments, but got {' '.join(arguments)}"])
    run(dict(os.environ))


def run_recheck(_: Sequence[str]) -> None:
    """Stop, periodically, the servers of users who may not log in any more."""
    # JupyterHub ends its services as Ctrl-C does.
    with suppress(KeyboardInterrupt):
        recheck.run()


def run_check_directory(arguments: Sequence[str]) -> None:
    """Test the directory; exits with 1 unless all is well."""
    from zhub.login import check_directory

    sys.exit(check_directory.run(arguments))


def run_check_networks(arguments: Sequence[str]) -> None:
    """Print which networks overlap; in the guard's container."""
    from zhub.guard import check_networks

    check_networks.run(arguments)


def run_check_devices(arguments: Sequence[str]) -> None:
    """Print which devices of profiles servers cannot use; in the guard's container."""
    from zhub.guard import devices

    devices.run(arguments)


def run_use(arguments: Sequence[str]) -> None:
    """Print what users' servers use; in the guard's container."""
    from zhub.guard import use

    use.run(arguments)


def run_node_guard(_: Sequence[str]) -> None:
    """Confine users' servers on one node of a swarm."""
    from zhub.guard import nodes

    nodes.run(os.environ)


def run_people(_: Sequence[str]) -> None:
    """Carry out, when it is time, what operators have planned for all servers."""
    from zhub.people import service

    with suppress(KeyboardInterrupt):
        service.run()


def run_users(arguments: Sequence[str]) -> None:
    """Do what `make users` asks of the hub."""
    from zhub.people import command

    command.run(arguments)


COMMANDS = (
    *(run_check_directory, run_check_networks, run_check_devices, run_use, run_users),
    token.run,
)


def main() -> None:
    """Run the role that the first argument names."""
    arguments = sys.argv[1:]
    role: Callable[[Sequence[str]], None] = run_hub
    roles = {
        "hub": run_hub,
        "guard": run_guard,
        "nodeguard": run_node_guard,
        "recheck": run_recheck,
        "check-directory": run_check_directory,
        "check-networks": run_check_networks,
        "check-devices": run_check_devices,
        "use": run_use,
        "people": run_people,
        "users": run_users,
        "metrics-token": token.run,
    }
    if arguments and arguments[0] in roles:
        role = roles[arguments.pop(0)]
    privileges.leave_no_dumps()
    # Commands are for people.
    logs.begin({} if role in COMMANDS else os.environ)
    try:
        role(arguments)
    except SettingsError as error:
        for problem in error.problems:
            log.critical(problem)
        sys.exit(2)
    except (DockerException, RequestException) as error:
        if not heartbeat.unanswered(error) and not _failed(error):
            raise
        log.critical("the engine does not answer: %s; ended, to be started again", error)
        sys.exit(1)


def _failed(error: Exception) -> bool:
    """Whether the engine itself has failed, or the guard says that it does not answer."""
    return isinstance(error, APIError) and bool(error.is_server_error())


if __name__ == "__main__":
    main()
