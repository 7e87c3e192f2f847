"""What README and docs print is typed by an operator: a stack's life, from the README to its end.

The clone and the shell are an operator's; the names and addresses of PLACEHOLDERS are this test's.
The tests are in the order of that life, and each leaves the stack up but the last.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import docker
import docker.errors
import pytest
import requests

from tests import ssh, terminal
from tests.built import wait_until
from tests.docs.commands import BLOCKS, runs, sections
from tests.engine import systemd
from tests.engine.conftest import native, remove_leftovers
from tests.engine.people import Entrance, logged_in
from tests.engine.stack import Stack
from tests.hubclient import User
from tests.pki import Identity
from tests.ports import free_port
from tests.toolchain.conftest import make_site
from toolchain.engine import client
from toolchain.places import CACHE

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

NAME = "e2e-docs"
BY_HAND = "zhub-e2e-byhand"
HOST = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
SOCKET = HOST.removeprefix("unix://")

#: What the pages' examples stand for here, as a pattern.
PLACEHOLDERS = {
    r"<stack>|<old>|\bsite\b": NAME,
    "<new>": f"{NAME}-new",
    r"ssh://ops@z\.example\.com": HOST,
    r"hub\.example\.com": "hub.localhost",
    r"anna\.maier|anna-2emaier": "bob",
    r"\bbio101\b": "research",
    "zhub-dev-": f"zhub-{NAME}-",
    "/etc/modprobe.d/": "./",
}

ADDRESSES = ("ldapServer", "ldapTls", "ldapBindDn", "ldapSearchBase", "ldapAllowedGroups")


def with_own_names(*commands: str) -> str:
    """Return lines of a page with the names of this stack."""
    text = "\n".join(commands)
    for pattern, here in PLACEHOLDERS.items():
        text = re.sub(pattern, here, text)
    return text


@dataclass(frozen=True)
class Operator:
    """Somebody with a clone, who types what a page prints, and says yes to Pulumi."""

    clone: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the shell."""
        tools = (str(Path(client()).parent), os.environ["PATH"])
        return {
            "HOME": str(self.clone.parent),
            "PATH": os.pathsep.join(tools),
            "XDG_CACHE_HOME": str(CACHE.parent),
            "DOCKER_HOST": HOST,
            "PULUMI_SKIP_CONFIRMATIONS": "true",
            "STACK": NAME,
            "TERM": "xterm",
        }

    def script(self, *commands: str) -> str:
        """Return the commands with this stack's names, in a shell that is set to the stack."""
        return f'eval "$(make -s env STACK={NAME})"\n{with_own_names(*commands)}'

    def types(self, *commands: str, answer: str = "", seconds: float = 300) -> str:
        """Run commands in one shell, which ends at the first that fails; returns what they print.

        The answer is read by the commands that ask for something.
        """
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.script(*commands)],
            cwd=self.clone,
            env=self.environment,
            input=answer,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @property
    def stack(self) -> Stack:
        """The stack, for people who log in to it."""
        state = self.clone / ".state"
        text = (state / f"passphrase-{NAME}").read_text().strip()
        return Stack(NAME, state, {"PULUMI_CONFIG_PASSPHRASE": text}, self.clone)


@pytest.fixture(scope="module")
def operator(
    engine: docker.DockerClient, resolved_localhost: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator who has brought a stack up as the README prints it.

    Then it gets the demo directory instead of the README's, since nobody could log in.
    """
    remove_leftovers(engine, f"zhub-{NAME}")
    operator = Operator(make_site(tmp_path_factory.mktemp("docs") / "clone").root)
    shell, own, _ = runs("README.md", "Your own hub")
    lines = own.splitlines()
    # From here on, what the machine is like and what cannot be had here.
    extra = native(engine) | {"port": free_port()}
    kept = ("baseImage", "buildImage", "platform", "extraCaFile", "pipIndexUrl", "npmRegistry")
    settings = {key: extra[key] for key in (*kept, "port", "bindAddress") if key in extra}
    settings["engineSocket"] = SOCKET
    # Under which programs find it; names that end in .localhost, only browsers and curl do.
    settings["'extraNames[0]'"] = "localhost"
    lines[-2:-2] = [f"pulumi config set --path {key} {value}" for key, value in settings.items()]
    try:
        shown = operator.types(shell, *lines, answer="of the service account")
        assert "24 created" in shown
        [password] = runs("docs/identity.md", "Set it up", "pulumi config set --secret")
        operator.types(password, answer="another one")
        open_to_all = runs("docs/identity.md", "`ldapServer` alone", "pulumi config")
        shown = operator.types("pulumi config rm ldapAllowedGroups", *open_to_all, "pulumi preview")
        assert "ldapAllowEveryone" in shown
        operator.types(
            *(f"pulumi config rm {key}" for key in (*ADDRESSES, "ldapBindPassword")),
            "pulumi config rm ldapAllowEveryone",
            "pulumi config set demoDirectory true",
            "pulumi up",
        )
        yield operator
    finally:
        remove_leftovers(engine, f"zhub-{NAME}")


def block(language: str, page: str, section: str) -> str:
    """The only block of a language in a section of a page."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", sections(page)[section], BLOCKS)
    return str(found)


def healthy(engine: docker.DockerClient) -> bool:
    hub = engine.containers.get(f"zhub-{NAME}-hub")
    return bool(hub.attrs["State"]["Health"]["Status"] == "healthy")


def with_server(operator: Operator, name: str) -> User:
    """Log somebody in, and start their server; one that a test before has left is stopped first."""
    user = logged_in(operator.stack, name)
    if user.server():
        user.stop_server()
    user.start_server()
    return user


def test_a_look_at_the_stack_and_at_a_users_things(operator: Operator) -> None:
    with_server(operator, "bob")
    shown = operator.types(*runs("docs/operations.md", "Look"))
    for name in ("hub", "guard", "user-bob", "home-bob"):
        assert f"zhub-{NAME}-{name}" in shown
    assert "User logged in: bob" in shown
    assert "ok  Docker engine: answers" in shown
    assert "certificateFingerprint" in shown
    [refusals] = runs("docs/security.md", "The guard", "docker logs")
    assert "refused" not in operator.types(refusals)


def test_why_somebody_may_log_in(operator: Operator) -> None:
    make, plain = runs(
        "docs/operations.md",
        "Nobody can log in, or one user cannot",
        "make doctor LDAP=",
        "docker exec zhub-<stack>-hub",
    )
    assert operator.types(make, plain).count("allowed, with the name alice") == 2
    [asks] = runs("docs/operations.md", "Nobody can log in, or one user cannot", "docker exec -it")
    password = str(operator.stack.outputs()["demoUsers"]["alice"])
    script = operator.script(asks)
    code, shown = terminal.run(script, operator.clone, operator.environment, "assword", password)
    assert (code, "allowed, with the name alice" in shown) == (0, True), shown


def test_metrics_are_scraped(operator: Operator) -> None:
    token_and_certificate, exchange = runs("docs/monitoring.md", "Get the token")
    [curl] = runs("docs/monitoring.md", "Scrape", "curl")
    curl = curl.replace(":11119", f":{Entrance.of(operator.stack).port}")
    shown = operator.types(token_and_certificate, curl, exchange, curl)
    assert shown.count('zhub_metrics_up{part="guard"} 1.0') == 2
    [log] = runs("docs/logs.md", "The audit log", "docker exec")
    assert '"command": "metrics-token"' in operator.types(log)


def test_somebody_is_taken_out_of_the_group(
    operator: Operator, engine: docker.DockerClient
) -> None:
    change, log = runs("docs/identity.md", "Try it", "docker")
    assert "modifying entry" in operator.types(change)
    checked = "docker exec zhub-<stack>-hub zhub check-directory bob || true"
    assert "not allowed: a member of none" in operator.types(checked)
    # It follows the log for ever.
    assert "JupyterHub" in operator.types(f"timeout 5 {log} || [ $? = 124 ]")
    engine.containers.get(f"zhub-{NAME}-directory").restart()


def test_after_a_run_that_was_killed(operator: Operator) -> None:
    shown = operator.types(*runs("docs/operations.md", "The hub does not come up"))
    assert "31 unchanged" in shown


def test_a_home_without_labels(operator: Operator, engine: docker.DockerClient) -> None:
    home = f"zhub-{NAME}-home-carol"
    engine.volumes.create(home)
    carol = logged_in(operator.stack, "carol")
    asked = carol.request("POST", "hub/api/users/carol/server")
    assert asked.status_code >= requests.codes.server_error
    log = engine.containers.get(f"zhub-{NAME}-guard").logs().decode()
    assert f"{home} has no labels, so it could be anybody's" in log
    engine.containers.run(
        operator.stack.outputs()["notebookDigest"],
        ["-c", "touch /home/kept.txt && chown -R jovyan /home"],
        entrypoint="sh",
        user="0",
        volumes={home: {"bind": "/home"}},
        remove=True,
    )
    [copy] = runs("docs/operations.md", "Somebody's server does not start")
    operator.types(copy.replace("alice", "carol"))
    assert engine.volumes.get(home).attrs["Labels"]["zhub.user"] == "carol"
    carol.start_server()
    assert carol.read("kept.txt") == ""
    carol.stop_server()
    [shows] = runs("docs/operations.md", "Somebody's server has ended")
    assert "server of carol: " in operator.types(shows.replace("alice", "carol"))


def start_class(operator: Operator) -> str:
    """Start the servers of the class as the page has it; returns what that prints."""
    start = runs("docs/api.md", "Start servers for a class")[0]
    here = f"localhost:{Entrance.of(operator.stack).port}"
    return operator.types(start.replace("hub.example.com:11119", here))


def asks(operator: Operator, method: str, path: str, token: str) -> int:
    """Return what the hub's API answers to a token."""
    entrance = Entrance.of(operator.stack)
    return requests.request(
        method,
        f"https://localhost:{entrance.port}/zhub-{NAME}/hub/api/{path}",
        headers={"Authorization": f"token {token}"},
        verify=str(entrance.authority),
        timeout=60,
    ).status_code


def test_a_class_is_started(operator: Operator, engine: docker.DockerClient) -> None:
    for name in ("alice", "carol"):
        if logged_in(operator.stack, name).server():
            logged_in(operator.stack, name).stop_server()
    [create] = runs("docs/api.md", "Create a service")
    assert "2 replaced" in operator.types(create)
    file = operator.clone / "class-start.token"
    token = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(re.findall("^([a-z]+): ready after", start_class(operator), re.MULTILINE)) == [
        "alice",
        "carol",
    ]
    # What its scopes do not say, it may not: others' servers, stopping one, tokens, the hub.
    for method, path in (
        ("POST", "users/bob/server"),
        ("DELETE", "users/alice/server"),
        ("POST", "users/alice/tokens"),
        ("GET", "users/alice/tokens"),
        ("POST", "shutdown"),
    ):
        assert asks(operator, method, path, token) in {403, 404}, path
    prefix = operator.stack.prefix
    containers = engine.containers.list(all=True, filters={"label": f"zhub.stack={prefix}"})
    for container in containers:
        assert token not in str(container.attrs)
    for role in ("hub", "guard"):
        assert token.encode() not in engine.containers.get(f"{prefix}-{role}").logs()
    for kept in (operator.stack.state_file, operator.clone / f"Pulumi.{NAME}.yaml"):
        assert token not in kept.read_text()
    hub = engine.containers.get(f"{prefix}-hub")
    [log] = runs("docs/logs.md", "The audit log", "docker exec")
    assert '"actor": "service class-start"' in operator.types(log)
    # What only the guard sees of an `up`; it looks every ten seconds.
    wait_until(lambda: '"name": "hubServices tokens"' in operator.types(log), seconds=60)
    assert hub.exec_run(["cat", "/certs/service-tokens.json"], user="1002").exit_code
    for name in ("alice", "carol"):
        logged_in(operator.stack, name).stop_server()


@pytest.mark.long
def test_a_services_token_is_exchanged(operator: Operator) -> None:
    [create] = runs("docs/api.md", "Create a service")
    [exchange] = runs("docs/api.md", "Exchange the token")
    operator.types(create)
    file = operator.clone / "class-start.token"
    first = file.read_text().strip()
    alice = with_server(operator, "alice")
    kernel = alice.start_kernel()
    kernel.run("kept = 41")
    operator.types(exchange)
    second = file.read_text().strip()
    assert asks(operator, "GET", "user", first) == requests.codes.forbidden
    assert asks(operator, "GET", "user", second) == requests.codes.ok
    assert "alice: ready already" in start_class(operator)
    assert kernel.run("print(kept + 1)") == "42\n"
    assert operator.types("pulumi preview --expect-no-changes")
    [remove] = runs("docs/api.md", "Remove it")
    operator.types(remove)
    assert asks(operator, "GET", "user", second) == requests.codes.forbidden
    # Those that it has started go on.
    assert kernel.run("print(kept + 2)") == "43\n"
    alice.stop_server()


@pytest.mark.long
def test_configuration_of_the_sites_own(operator: Operator, engine: docker.DockerClient) -> None:
    use = runs("docs/own-configuration.md", "Use it")
    back = runs("docs/own-configuration.md", "When the hub does not start with it")
    example = block("python", "docs/own-configuration.md", "Use it")
    (operator.clone / "hub_config.py").write_text(
        f"{example}\nprint('own file is read', flush=True)\n"
    )
    shown = operator.types(*use)
    assert "hubConfigFile is hub_config.py (sha256 " in shown
    assert "2 replaced" in shown
    hub = f"zhub-{NAME}-hub"
    assert b"own file is read" in engine.containers.get(hub).logs()
    assert "hubConfigFile: unsupported; " in operator.types("make doctor || true")
    assert operator.types("pulumi preview --expect-no-changes")
    operator.types(*back)
    assert b"own file is read" not in engine.containers.get(hub).logs()
    assert "hubConfigFile" not in operator.types("make doctor || true")


@pytest.mark.long
def test_configuration_of_the_sites_own_that_fails(
    operator: Operator, engine: docker.DockerClient
) -> None:
    """Only when it runs: the preview takes it. The `up` fails, and the way back ends no kernel."""
    look, *_ = runs("docs/own-configuration.md", "When the hub does not start with it")
    alice = with_server(operator, "alice")
    kernel = alice.start_kernel()
    kernel.run("kept = 41")
    own = operator.clone / "hub_config.py"
    set_it = runs("docs/own-configuration.md", "Use it")[0].splitlines()[0]
    own.write_text("c.JupyterHub.tornado_settings = (\n")
    shown = operator.types(set_it, "pulumi preview 2>&1 || true")
    assert "hubConfigFile is \"hub_config.py\": line 1: '(' was never closed" in shown
    assert "pulumi config rm hubConfigFile" in shown
    own.write_text("c.JupyterHub.x = 1\nd.JupyterHub.x = 2\n")
    assert "hubConfigFile is hub_config.py" in operator.types("pulumi preview")
    operator.types("pulumi up 2>&1 && exit 1 || true", seconds=900)
    logs, *back = look.splitlines()
    said = operator.types(logs)
    assert "hubConfigFile: line 2: NameError: name 'd' is not defined. Correct the file" in said
    operator.types(*back)
    assert healthy(engine)
    assert kernel.run("print(kept + 1)") == "42\n"
    alice.stop_server()


def test_what_a_server_reaches(operator: Operator) -> None:
    [reach] = runs("docs/operations.md", "Somebody's server does not reach something")
    assert "2 replaced" in operator.types(reach)


def test_the_certificate_is_renewed_and_brought(operator: Operator) -> None:
    before = operator.stack.outputs()["certificateFingerprint"]
    operator.types(*runs("docs/operations.md", "The certificate"))
    renewed = operator.stack.outputs()["certificateFingerprint"]
    assert renewed != before
    [log] = runs("docs/logs.md", "The audit log", "docker exec")

    def last_exchange() -> tuple[str, str] | None:
        lines = map(json.loads, operator.types(log).splitlines())
        found = [(one["before"], one["now"]) for one in lines if one.get("name") == "certificate"]
        return found[-1] if found else None

    # The guard looks every ten seconds: two in less would be one line.
    wait_until(lambda: last_exchange() == (before, renewed), seconds=60)
    own_one = Identity.create("hub.localhost", "*.hub.localhost", "localhost")
    own_one.write(operator.clone, "hub.localhost")
    _, _, own = runs("README.md", "Your own hub")
    operator.types(own)
    brought = operator.stack.outputs()["certificateFingerprint"]
    assert brought not in {before, renewed}
    wait_until(lambda: last_exchange() == (renewed, brought), seconds=60)


@pytest.mark.long
def test_newer_packages(operator: Operator, engine: docker.DockerClient) -> None:
    sbom, rebuild = runs(
        "docs/operations.md",
        "Packages in the images, and known vulnerabilities",
        "pulumi up --target-replace",
        "make sbom",
    )
    assert "Image notebook" in operator.types(rebuild)
    operator.types(*runs("docs/operations.md", "An image went missing"))
    operator.types(sbom)
    assert list((operator.clone / "sbom").glob("*.cdx.json"))
    assert healthy(engine)


@pytest.mark.long
def test_make_up_after_something_was_changed_outside_pulumi(
    operator: Operator, engine: docker.DockerClient
) -> None:
    """As the page's table says: it builds images again, and nothing else."""
    prefix, digest = f"zhub-{NAME}", operator.stack.outputs()["notebookDigest"]
    for container in engine.containers.list(all=True, filters={"ancestor": digest}):
        container.remove(force=True)
    engine.images.remove(digest, force=True)
    removed = [f"{prefix}-{role}" for role in ("files", "hub")]
    for name in removed:
        engine.containers.get(name).remove(force=True)
    guard = engine.containers.get(f"{prefix}-guard")
    guard.stop(timeout=1)
    directory = engine.containers.get(f"{prefix}-directory")
    directory.pause()

    named = f":{prefix} ({digest}) is missing on the engine, so it is built again"
    assert named in operator.types("make preview")
    assert named in operator.types("make up")
    assert engine.images.get(digest)
    assert engine.containers.get(f"{prefix}-notebookimage").status == "running"
    for name in removed:
        with pytest.raises(docker.errors.NotFound):
            engine.containers.get(name)
    guard.reload()
    directory.reload()
    assert (guard.status, directory.status) == ("exited", "paused")

    operator.types(*runs("docs/operations.md", "Something was changed outside Pulumi"))
    assert healthy(engine)
    assert engine.containers.get(removed[0]).status == "created"
    with_server(operator, "carol").stop_server()
    assert "unchanged" in operator.types("make preview", "pulumi preview --expect-no-changes")


def test_what_people_may_do(operator: Operator) -> None:
    names = runs("docs/security.md", "In the browser", "pulumi config")
    access = runs("docs/security.md", "Administrators", "pulumi config")
    policies = runs("docs/security.md", "Policies")
    shown = operator.types(*names, *access, *policies)
    assert "zhub@v" in shown
    assert "to replace" in shown
    operator.types("pulumi config rm subdomainHost", "pulumi config rm adminAccess")
    [modules] = runs("docs/security.md", "System calls", "printf")
    operator.types(modules)
    assert "install vsock /bin/false\n" in (operator.clone / "zhub.conf").read_text()


def test_a_backup_is_restored(operator: Operator) -> None:
    """The rest of what the pages say of it is in test_backup.py."""
    alice = with_server(operator, "alice")
    alice.save("kept.txt", "of alice")
    [back_up] = runs("docs/operations.md", "Back up")
    assert "not encrypted" in operator.types(back_up)
    [folder] = (operator.clone / "backups").iterdir()
    alice.save("kept.txt", "changed since")
    [both] = runs("docs/operations.md", "Restore")
    whole, one = both.replace("backups/<stack>-20261129T030000Z", str(folder)).splitlines()
    assert "has users in it (logged in: " in operator.types(f"{whole} || true")
    operator.types(one)
    restored = folder.name.replace(NAME, "restored")
    assert alice.read(f"{restored}/kept.txt") == "of alice"
    assert alice.read("kept.txt") == "changed since"


def test_a_backup_goes_to_restic(operator: Operator, tmp_path: Path) -> None:
    """To a store behind SSH; what comes back is the backup."""
    if not shutil.which("restic"):
        pytest.skip("no restic: apt-get install restic")
    [both] = runs("docs/backup.md", "Why plain archives")
    (tmp_path / "sshd").mkdir()
    with ssh.running(tmp_path / "sshd") as store:
        # Programs that a shell finds first, and the password that restic would ask for.
        first = f"export PATH={store.client(tmp_path / 'bin')}:$PATH RESTIC_PASSWORD=of-the-store"
        here = f"sftp:127.0.0.1:{tmp_path}/store"
        both = both.replace("sftp:store.example.com:/zhub", here)
        shown = operator.types(first, f"restic -r {here} init", both)
        operator.types(first, f"restic -r {here} restore latest --target {tmp_path}/back")
    assert "snapshot" in shown

    def content(folder: Path) -> dict[Path, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder): path.read_bytes() for path in files}

    made = content(operator.clone / "backups")
    assert len({path.parts[0] for path in made}) == 1, "one backup is kept"
    assert content(tmp_path / "back" / "backups") == made


@pytest.mark.long
def test_a_schedule_with_systemd(operator: Operator, short_folder: Path) -> None:
    """On a machine with systemd, whose files are this one's; there, root types it."""
    if os.geteuid() != 0 or not systemd.able():
        pytest.skip("a machine with systemd needs root, systemd, unshare and cgroup2")
    [schedule] = runs("docs/backup.md", "On a schedule")
    copy, edit, enable = schedule.replace("sudo ", "").splitlines()
    to, said = short_folder / "to", short_folder / "said"
    to.mkdir()
    said.touch()
    settings = block("ini", "docs/backup.md", "On a schedule")
    for shown, here in {
        "User=ops": "User=root",
        "/srv/zhub": str(operator.clone),
        "/mnt/backups": str(to),
        "RECIPIENT=/etc/zhub/backup-key.asc ": "",
    }.items():
        assert shown in settings
        settings = settings.replace(shown, here)
    # What the operator types in the editor, which is given the file last. The clone is in /tmp, and
    # there is no journal.
    settings += f"PrivateTmp=no\nStandardOutput=append:{said}\nStandardError=inherit\n"
    (short_folder / "settings").write_text(settings)
    editor = short_folder / "editor"
    editor.write_text(f'#!/bin/sh\nfor file; do :; done\ncat {short_folder}/settings >"$file"\n')
    editor.chmod(0o755)
    with systemd.machine(short_folder, [to, said, Path(SOCKET).resolve()]) as machine:
        machine.shell(f"cd {operator.clone}\n{with_own_names(copy)}")
        script = f"export EDITOR={editor}\n{with_own_names(edit)}"
        inside = shlex.join([*machine.inside, "bash", "-euc", script])
        code, shown = terminal.run(inside, operator.clone, operator.environment, "?", "")
        assert code == 0, shown
        machine.shell(with_own_names(enable))
        assert f"zhub-backup@{NAME}.timer" in machine.shell("systemctl list-timers --no-pager")
        unit = f"zhub-backup@{NAME}.service"
        machine.shell(f"systemctl start {unit} || true")
        assert unit not in machine.shell("systemctl --failed --no-pager"), said.read_text()
        [made] = to.iterdir()
        assert (made / "manifest.json").exists()
        # One whose backup fails.
        machine.shell("systemctl start zhub-backup@none.service || true")
        assert "zhub-backup@none.service" in machine.shell("systemctl --failed --no-pager")


def test_another_pool_while_somebody_works(operator: Operator, engine: docker.DockerClient) -> None:
    bob = with_server(operator, "bob")
    kernel = bob.start_kernel()
    kernel.run("kept = 41")

    def subnet() -> str:
        network = engine.networks.get(f"zhub-{NAME}-user-bob")
        return str(network.attrs["IPAM"]["Config"][0]["Subnet"])

    assert not subnet().startswith("10.214.")
    assert "2 replaced" in operator.types(*runs("docs/networks.md", "Choose a pool"))
    assert kernel.run("print(kept + 1)") == "42\n"
    assert not subnet().startswith("10.214."), "until the next start"
    bob.stop_server()
    bob.start_server()
    assert subnet().startswith("10.214.")
    bob.stop_server()


def test_a_folder_for_a_team_comes_and_goes(
    operator: Operator, engine: docker.DockerClient
) -> None:
    [share] = runs("docs/shared-folders.md", "A folder for a team")
    assert "2 replaced" in operator.types(share)
    alice = with_server(operator, "alice")
    kernel = alice.start_kernel()
    kernel.run("open('/shared/research/notes', 'w').write('of the team')")
    bob = with_server(operator, "bob")
    in_none = "import os; print(os.path.exists('/shared/research'))"
    assert bob.start_kernel().run(in_none) == "False\n"
    alice.stop_server()
    operator.types("pulumi config rm sharedFolders", "pulumi up")
    bob.stop_server()
    volume = f"zhub-{NAME}-shared_research"
    assert engine.volumes.get(volume)
    operator.types(*runs("docs/shared-folders.md", "Backups", "docker volume rm"))
    with pytest.raises(docker.errors.NotFound):
        engine.volumes.get(volume)


def test_a_folder_of_the_engines_machine(operator: Operator) -> None:
    if os.geteuid() != 0:
        pytest.skip("the folder has to be root's")
    [make] = runs("docs/shared-folders.md", "A folder of the engine's machine")
    root = operator.clone.parent / "shared"
    course = root / "course"
    # Here, root types it.
    operator.types(make.replace("sudo ", "").replace("/srv/shared", str(root)))
    assert (course.stat().st_uid, course.stat().st_gid) == (1000, 1000)
    folder = "pulumi config set --path 'sharedFolders[0]."
    shown = operator.types(f"{folder}name' course", f"{folder}path' course", "pulumi preview")
    assert "to replace" in shown
    operator.types("pulumi config rm sharedFolders", "pulumi config rm sharedRoot")


def test_pruning_and_older_homes(operator: Operator) -> None:
    """Pruning itself would be of the whole engine; test_prune.py does it on one of its own.

    Carol's home was made by a command of the docs, as those of older releases are.
    """
    [anew] = runs("docs/operations.md", "Clean the engine up", "make homes")
    assert "home 1 of 1: carol" in operator.types(anew)
    assert "nothing to do" in operator.types(anew)


def test_the_state_and_its_passphrase(operator: Operator) -> None:
    operator.types(*runs("docs/more-than-one.md", "Backups of the state"))
    assert list(operator.clone.glob(f"{NAME}-20*.json"))
    kept = operator.clone / ".state" / f"passphrase-{NAME}"
    new = operator.clone / "new-passphrase"
    new.write_text("of the team that is left\n")
    operator.types(*runs("docs/more-than-one.md", "The key to the secrets"))
    kept.write_text(new.read_text())
    operator.types("pulumi preview --expect-no-changes")


def test_by_hand(operator: Operator, engine: docker.DockerClient) -> None:
    """With other names than the printed ones, which may be somebody's on this engine."""
    start, find = runs("docs/by-hand.md", "")
    [same] = runs("README.md", "By hand, without Pulumi")
    assert same in start
    outputs, port = operator.stack.outputs(), free_port()
    own = f"-e ZHUB_PREFIX={BY_HAND} -e ZHUB_NOTEBOOK_IMAGE={outputs['notebookDigest']}"
    make = start.removesuffix(same)
    run = same.replace("jupyter_hub_s390x", f"{own} {outputs['hubDigest']}")
    run = run.replace("11119", str(port)).replace("/var/run/docker.sock:", f"{SOCKET}:")
    operator.types(make)
    certificate = operator.clone.parent / "jupyterhub/certs/hub.crt"
    with subprocess.Popen(
        ["bash", "-c", operator.script(run)],
        cwd=operator.clone,
        env=operator.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_until(lambda: answers(port, certificate), seconds=60)
        finally:
            for container in engine.containers.list(filters={"publish": str(port)}):
                container.stop()
            printed = process.communicate(timeout=60)[0]
    assert "PASSWORDS ARE SENT TO THE DIRECTORY IN CLEAR" in printed

    labels = {"zhub.stack": BY_HAND, "zhub.role": "notebook"}
    server = engine.containers.create(outputs["notebookDigest"], labels=labels)
    network = engine.networks.create(f"{BY_HAND}-user-alice", labels=labels)
    home = engine.volumes.create(f"{BY_HAND}-home-alice", labels=labels)
    try:
        printed = operator.types(find.replace("stack=jupyterhub", f"stack={BY_HAND}"))
        for one in (server, network):
            with pytest.raises(docker.errors.NotFound):
                one.reload()
        assert home.name in printed
    finally:
        remove_leftovers(engine, BY_HAND)


def answers(port: int, certificate: Path) -> bool:
    """Whether a hub by hand shows its login page."""
    try:
        page = requests.get(f"https://hub.localhost:{port}", verify=str(certificate), timeout=10)
    except (requests.ConnectionError, OSError):
        return False
    return bool(page.status_code == requests.codes.ok)


def test_a_rename(operator: Operator) -> None:
    [rename] = runs("docs/operations.md", "Rename a stack")
    back = f'pulumi stack rename {NAME}\neval "$(make -s env)"\npulumi config rm prefix'
    shown = operator.types(rename, back, "pulumi preview --expect-no-changes")
    assert shown.count("unchanged") == 2


def read_messages(operator: Operator, bob: User, show: str) -> None:
    """Send messages, which are read on the hub's pages and in Bob's server, and remove them."""
    to_one, to_all, remove = runs("docs/people.md", "Send a message")
    shown = operator.types(to_one, to_all.replace("2026", "2099"), show)
    assert "Message to bob: Your home is nearly full." in shown
    assert "Message to everybody until 2099-12-04 20:00: New disks on Friday" in shown
    pages = [
        user.request("GET", "hub/home").text for user in (bob, logged_in(operator.stack, "alice"))
    ]
    assert ["Your home is nearly full." in page for page in pages] == [True, False]
    assert all("New disks on Friday" in page for page in pages)

    def in_lab() -> list[str]:
        found = bob.request("GET", urljoin(bob.home, "zhub/messages")).json()["messages"] or []
        return [message["text"][:9] for message in found]

    wait_until(lambda: in_lab() == ["Your home", "New disks"], seconds=60)
    operator.types(remove)
    assert "New disks on Friday" not in bob.request("GET", "hub/home").text
    wait_until(lambda: in_lab() == [], seconds=60)
    of_bob, _ = remove.splitlines()
    assert "there is none for bob" in operator.types(f"{of_bob} 2>&1 || true")
    [log] = runs("docs/logs.md", "The audit log", "docker exec")
    assert '"command": "message"' in operator.types(log)


def bring_along(operator: Operator, bob: User) -> None:
    """Bob is called carol from now on, who has a home of her own."""
    with_server(operator, "carol").stop_server()
    bob.stop_server()
    [copy] = runs("docs/people.md", "Somebody gets another name")
    operator.types(copy.replace("anna-2emaier", "bob").replace("anna-2eschmidt", "carol"))
    carol = with_server(operator, "carol")
    assert carol.read("kept.txt") == "of bob"
    carol.save("kept.txt", "of carol")
    carol.stop_server()
    bob.start_server()
    assert bob.read("kept.txt") == "of bob"


def test_people_come_and_go(operator: Operator, engine: docker.DockerClient) -> None:
    with_server(operator, "bob")
    show, stop = (
        *runs("docs/people.md", "List users", "make users"),
        *runs("docs/people.md", "Stop a server"),
    )
    shown = operator.types(show)
    assert re.search(r"^bob +runs +new +[0-9.]+MiB / .* yes ", shown, re.MULTILINE)
    assert re.search(r"^[1-9] of 500 servers, which may take \d+\.\d GiB", shown, re.MULTILINE)
    grace = logged_in(operator.stack, "grace")
    assert " of 500 servers run or start." in grace.request("GET", "hub/admin").text
    operator.types(stop)
    assert re.search(r"^bob +- ", operator.types(show), re.MULTILINE)

    drain, open_again = runs("docs/people.md", "Maintenance: empty the hub by a time")
    assert "at 2099-12-01" in operator.types(drain.replace("2026", "2099"))
    bob = logged_in(operator.stack, "bob")
    asked = bob.request("POST", "hub/api/users/bob/server")
    assert asked.status_code == requests.codes.unavailable
    assert "New disks. Back at 20:00." in asked.text
    assert "New disks. Back at 20:00." in bob.request("GET", "hub/home").text
    operator.types(open_again)
    bob.start_server()
    [renew] = runs("docs/people.md", "Restart who runs an old image")
    assert "restarted at 2099-12-01" in operator.types(renew.replace("2026", "2099"))
    assert "A new Python." in bob.request("GET", "hub/home").text
    operator.types(open_again)
    assert "Planned" not in operator.types(show)

    read_messages(operator, bob, show)

    [accept] = runs("docs/people.md", "A name is given away again")
    assert "who logs in next as bob" in operator.types(accept)
    assert "not recorded whose name bob is" in operator.types(f"{accept} 2>&1 || true")

    orphans, export, forget = runs("docs/people.md", "Somebody leaves")
    assert "knows the owners of all homes" in operator.types(orphans)
    bob.save("kept.txt", "of bob")
    bring_along(operator, bob)
    operator.types(export)
    left = operator.clone.parent / "left" / "bob"
    assert {path.name for path in left.iterdir()} == {"home.tar.gz", "hub.json"}
    with tarfile.open(left / "home.tar.gz") as archive:
        assert "./kept.txt" in archive.getnames()
    refused = operator.types(f"{forget} < /dev/null || true")
    assert "nothing was removed" in refused
    script = operator.script(forget)
    code, shown = terminal.run(script, operator.clone, operator.environment, "Type the", "bob")
    assert code == 0, shown
    assert not engine.containers.list(all=True, filters=operator.stack.labelled("notebook", "bob"))
    assert not engine.volumes.list(filters=operator.stack.labelled("home", "bob"))
    assert not re.search("^bob ", operator.types(show), re.MULTILINE)
    # Who lets a machine decide.
    with_server(operator, "bob")
    operator.types(f"{forget} YES=1")
    assert "not recorded whose name bob is" in operator.types(f"{accept} 2>&1 || true")
    assert "there is no home of bob" in operator.types(f"{forget} YES=1 2>&1 || true")


def came_back(operator: Operator, name: str, text: str) -> None:
    """Somebody finds a file, and can work again."""
    user = with_server(operator, name)
    assert user.read("kept.txt") == text
    user.stop_server()


@pytest.mark.long
def test_all_is_lost_but_an_encrypted_backup(operator: Operator) -> None:
    """The stack goes with all homes, and comes back; then its database alone."""
    keyring = operator.clone.parent / ".gnupg"
    keyring.mkdir(mode=0o700)
    (keyring / "none").touch()
    # Nobody is there to type the key's passphrase.
    without = f"batch\npinentry-mode loopback\npassphrase-file {keyring}/none\n"
    (keyring / "gpg.conf").write_text(without)
    alice = with_server(operator, "alice")
    alice.save("kept.txt", "of alice")
    alice.stop_server()
    try:
        operator.types(*runs("docs/backup.md", "Encrypt it"), *runs("docs/backup.md", "Back up"))
        [kept] = (operator.clone / "backups").glob(f"{NAME}-*Z/passphrase.gpg")
        # The page has the last command twice; the home already has the files of that backup then.
        up, whole, database, one, _ = (
            command.replace("backups/<stack>-20261129T030000Z", str(kept.parent))
            for command in runs("docs/backup.md", "Restore", "make")
        )
        remove, _, homes, _ = runs("docs/operations.md", "Remove a stack")
        operator.types(remove, homes, up)
        assert f"homes are in stack {NAME}" in operator.types(whole)
        came_back(operator, "alice", "of alice")
        operator.types("pulumi destroy", up, database)
        assert "alice finds the files of " in operator.types(one)
        came_back(operator, "alice", "of alice")
    finally:
        operator.types("gpgconf --kill all")  # the agent, which GnuPG has started


def test_the_end(operator: Operator, engine: docker.DockerClient) -> None:
    remove, retain, homes, forget = runs("docs/operations.md", "Remove a stack")
    operator.types(retain)
    assert engine.volumes.get(f"zhub-{NAME}-state")
    up, down = runs("README.md", "Try it")[0].splitlines()
    operator.types("pulumi config rm retain")
    assert "JupyterHub is up: https://hub.localhost" in operator.types(up)
    operator.types(remove)
    assert not engine.containers.list(all=True, filters={"label": f"zhub.stack=zhub-{NAME}"})
    operator.types(up, down)
    operator.types(homes)
    assert not engine.volumes.list(filters={"label": f"zhub.stack=zhub-{NAME}"})
    operator.types(up, forget)
    assert operator.types("pulumi stack --show-urns").count("urn:pulumi") == 0
