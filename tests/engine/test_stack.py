"""The whole system on a real engine, as seen by the operator, a data scientist and a stranger.

One stack serves every test, because an emulated hub takes half a minute to start. The tests run
in file order; the last ones change the stack and take it down.
"""

from __future__ import annotations

import hashlib
import json
import socket
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import docker
import pytest
import requests
from cryptography import x509

from tests.built import wait_until
from tests.doctor import doctor
from tests.engine.people import (
    browser,
    certificate_file,
    logged_in,
    port_of,
    served_certificate,
    served_pem,
)
from tests.engine.stack import PulumiError, Stack
from tests.hubclient import LoginRefused, User
from tests.pki import Identity
from toolchain.places import ROOT

pytestmark = pytest.mark.engine


def test_outputs_describe_the_stack(stack: Stack, engine: docker.DockerClient) -> None:
    outputs = stack.outputs()
    expected = {"url", "certificateFingerprint", "notebookDigest", "hubDigest", "container"}
    assert expected | {"engine", "demoUsers", "demoRoles"} <= set(outputs)
    hub = engine.containers.get(outputs["container"])
    assert hub.attrs["Image"] == outputs["hubDigest"]
    notebook = engine.images.get(outputs["notebookDigest"])
    assert notebook.attrs["Architecture"] == "s390x"
    assert hub.attrs["State"]["Health"]["Status"] == "healthy"


def test_a_running_stack_passes_the_policy_pack(stack: Stack) -> None:
    """With values from the engine, such as the digests of images."""
    shown = stack.on_stack("preview", "--expect-no-changes", "--policy-pack", str(ROOT / "policy"))
    assert "zhub@v1.0.0" in shown


def test_the_container_of_files_does_nothing_when_started(
    stack: Stack, engine: docker.DockerClient
) -> None:
    files = engine.containers.get(f"{stack.prefix}-files")
    files.start()
    assert files.wait()["StatusCode"] == 1
    mounted = [mount["Name"] for mount in files.attrs["Mounts"]]
    assert mounted == [f"{stack.prefix}-certs"]


def test_the_port_serves_the_certificate_of_the_stack(stack: Stack) -> None:
    served = served_certificate(port_of(stack))
    fingerprint = stack.outputs()["certificateFingerprint"]
    assert fingerprint.replace(":", "").lower() == hashlib.sha256(served).hexdigest()
    certificate = x509.load_der_x509_certificate(served)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "hub.example.com"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_plain_http_is_refused_with_a_reason(stack: Stack) -> None:
    answer = requests.get(f"http://127.0.0.1:{port_of(stack)}/hub/login", timeout=30)
    assert answer.status_code == 400
    assert "HTTPS only" in answer.text
    assert not answer.cookies


def test_a_wrong_password_and_an_unknown_user_are_refused_alike(stack: Stack) -> None:
    messages = set()
    for user, password in [("alice", "wrong"), ("nobody", "wrong"), ("alice", "")]:
        with pytest.raises(LoginRefused) as refusal:
            browser(stack).log_in(user, password)
        messages.add(str(refusal.value))
    assert len(messages) == 1


def account(user: User) -> tuple[bool, list[str]]:
    """Return whether a user is an administrator in the hub, and the user's groups."""
    answer = user.request("GET", "hub/api/user")
    answer.raise_for_status()
    return answer.json()["admin"], answer.json()["groups"]


def change_group(engine: docker.DockerClient, stack: Stack, group: str, change: str) -> None:
    """Change a group of the demo directory; `change` is LDIF, from `changetype: modify` on."""
    ldif = f"dn: cn={group},ou=groups,dc=example,dc=org\nchangetype: modify\n{change}\n"
    done = engine.containers.get(f"{stack.prefix}-directory").exec_run(
        ["sh", "-c", 'printf %s "$LDIF" | ldapmodify -Q -Y EXTERNAL -H ldapi:///'],
        environment={"LDIF": ldif},
    )
    assert done.exit_code == 0, done.output


def test_groups_decide_who_logs_in_and_who_administers(
    stack: Stack, engine: docker.DockerClient
) -> None:
    grace = logged_in(stack, "grace")
    admin, groups = account(grace)
    assert (admin, sorted(groups)) == (True, ["jupyter", "jupyter-admins"])
    assert grace.request("GET", "hub/api/users").status_code == requests.codes.ok
    with pytest.raises(LoginRefused, match=r"Your account is not allowed to use this hub\."):
        logged_in(stack, "mallory")

    member = "member: uid=grace,ou=people,dc=example,dc=org"
    stays = "member: uid=hub,ou=services,dc=example,dc=org"  # a group has one member at least
    change_group(
        engine, stack, "jupyter-admins", f"add: member\n{stays}\n-\ndelete: member\n{member}"
    )
    try:
        assert account(logged_in(stack, "grace")) == (False, ["jupyter"])
    finally:
        change_group(
            engine, stack, "jupyter-admins", f"add: member\n{member}\n-\ndelete: member\n{stays}"
        )


def test_the_doctor_says_who_can_log_in(stack: Stack) -> None:
    for name, decision in (("alice", "     ok  allowed"), ("mallory", " FAILED  not allowed")):
        answer = doctor(stack.name, name)
        assert decision in answer.stdout, answer.stderr
        assert bool(answer.returncode) == (name == "mallory")


def test_a_user_gets_a_private_s390x_server_and_keeps_the_files(
    stack: Stack, engine: docker.DockerClient
) -> None:
    alice = logged_in(stack, "alice")
    alice.start_server()
    [container] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    assert container.attrs["Image"] == stack.outputs()["notebookDigest"]
    assert alice.run("import platform; print(platform.machine())") == "s390x\n"
    alice.save("kept.txt", "still here")
    alice.stop_server()
    assert not engine.containers.list(all=True, filters=stack.labelled("notebook", "alice"))
    assert not engine.networks.list(filters=stack.labelled("user-network", "alice"))

    alice.start_server()
    assert alice.read("kept.txt") == "still here"


def test_pages_of_hub_and_server_are_for_this_site_only(stack: Stack) -> None:
    alice = logged_in(stack, "alice")
    alice.open_lab()
    pages = {
        path: alice.request("GET", path)
        for path in (
            "hub/home",
            "hub/static/css/style.min.css",
            "hub/no-such-page",
            "hub/api/user",
            "user/alice/lab",
            "user/alice/api/status",
            "user/alice/static/favicons/favicon.ico",
        )
    }
    assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(pages, 200) | {
        "hub/no-such-page": 404
    }
    for path, page in pages.items():
        assert page.headers["X-Content-Type-Options"] == "nosniff", path
        assert page.headers["Referrer-Policy"], path
        assert "Strict-Transport-Security" not in page.headers, path
        framing = page.headers["Content-Security-Policy"].split(";")[0]
        assert framing in {"frame-ancestors 'none'", "frame-ancestors 'self'"}, path

    cookies = {cookie.name: cookie for cookie in alice.cookies()}
    assert {"_xsrf", "jupyterhub-hub-login", "jupyterhub-session-id"} < set(cookies)
    assert "jupyterhub-user-alice" in cookies
    for cookie in alice.cookies():
        assert cookie.secure, cookie
        assert cookie.get_nonstandard_attr("SameSite") in {"Lax", "Strict"}, cookie
        # Pages must read this one: they send its value back as a header.
        assert cookie.has_nonstandard_attr("HttpOnly") != (cookie.name == "_xsrf"), cookie


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "hub/api/users/alice/tokens"),
        ("DELETE", "hub/api/users/alice/server"),
        ("POST", "user/alice/api/kernels"),
        ("PUT", "user/alice/api/contents/forged.txt"),
    ],
)
def test_a_forged_cross_site_request_is_refused(stack: Stack, method: str, path: str) -> None:
    alice = logged_in(stack, "alice")
    alice.open_lab()
    forged = {"X-XSRFToken": "", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    answer = alice.request(method, path, json={}, headers=forged)
    assert answer.status_code == 403


PROBE = textwrap.dedent(
    """
    import os, socket
    def reached(host):
        try:
            socket.create_connection((host, 8888), timeout=5).close()
        except OSError:
            return False
        return True
    print([reached(host) for host in {hosts!r}], os.path.exists('kept.txt'), reached('localhost'))
    """
)


def test_a_second_user_shares_nothing_with_the_first(
    stack: Stack, engine: docker.DockerClient
) -> None:
    bob = logged_in(stack, "bob")
    bob.start_server()
    [alices] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    [bobs] = engine.containers.list(filters=stack.labelled("notebook", "bob"))
    addresses = [n["IPAddress"] for n in alices.attrs["NetworkSettings"]["Networks"].values()]

    # The last probe is of Bob's own server: it shows that the probe works.
    probe = PROBE.format(hosts=[alices.name, *addresses])
    assert bob.run(probe) == f"{[False] * (1 + len(addresses))} False True\n"

    def homes(container: Any) -> set[str]:
        # Shared folders are in attacks/test_folders.py.
        return {
            mount["Name"]
            for mount in container.attrs["Mounts"]
            if mount["Type"] == "volume" and not mount["Destination"].startswith("/shared/")
        }

    assert homes(alices)
    assert homes(bobs)
    assert not homes(alices) & homes(bobs)
    assert bob.request("GET", "user/alice/api/status").status_code in (403, 404)
    bob.stop_server()


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    stack.up("--expect-no-changes")


def test_the_program_violates_no_policy(stack: Stack) -> None:
    assert "zhub@v" in stack.on_stack("preview", "--policy-pack", "policy")


def check_names_of_their_own(stack: Stack, alice: User) -> None:
    """The server answers only at the user's host name, and its cookies are only for that host."""
    port = port_of(stack)
    assert alice.home == f"https://alice.hub.localhost:{port}/{stack.prefix}/user/alice/"
    pages = {"hub": alice.request("GET", "hub/home"), "server": alice.request("GET", alice.home)}
    for name, page in pages.items():
        assert page.status_code == 200, name
        assert page.headers["Strict-Transport-Security"] == "max-age=300", name
    # The hub's host name redirects there.
    page = alice.request("GET", urljoin(alice.base, "user/alice/lab"))
    assert page.history
    assert page.url.startswith(alice.home)
    others = alice.home.replace("//alice.", "//bob.")
    assert alice.request("GET", others, allow_redirects=False).status_code != 200

    holders = {cookie.name: cookie.domain for cookie in alice.cookies()}
    assert holders["__Host-jupyterhub-hub-login"] == "hub.localhost"
    assert holders["__Host-jupyterhub-user-alice"] == "alice.hub.localhost"
    shared = {cookie.name for cookie in alice.cookies() if cookie.domain_specified}
    assert shared == {"jupyterhub-session-id"}, "which is of no use alone"


def test_two_stacks_live_side_by_side(
    stack: Stack, second_stack: Stack, engine: docker.DockerClient
) -> None:
    alice = logged_in(second_stack, "alice")
    alice.start_server()
    assert alice.run("import os; print(os.path.exists('kept.txt'))") == "False\n"
    [here] = engine.containers.list(filters=second_stack.labelled("notebook", "alice"))
    [there] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    assert here.id != there.id
    check_names_of_their_own(second_stack, alice)
    check_administrators_get_in(second_stack, alice)

    second_stack.on_stack("destroy", "--yes")
    assert not engine.containers.list(
        all=True, filters={"label": f"zhub.stack={second_stack.prefix}"}
    )
    assert there.id in {c.id for c in engine.containers.list()}
    page = requests.get(stack.outputs()["url"], verify=str(certificate_file(stack)), timeout=30)
    assert "/zhub-e2e/hub/login" in page.url


def check_administrators_get_in(stack: Stack, alice: User) -> None:
    """With adminAccess; attacks/test_administrators.py has the refusals without it."""
    grace = logged_in(stack, "grace")
    made = grace.request("POST", "hub/api/users/grace/tokens", json={"note": "all I have"})
    answer = requests.get(
        f"{alice.home}api/status",
        headers={"Authorization": f"token {made.json()['token']}"},
        verify=str(alice.authority),
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    assert grace.request("POST", "hub/api/users/alice/tokens", json={}).status_code == 201


def test_a_wrong_value_is_refused_before_anything_changes(stack: Stack) -> None:
    before = stack.state_file.read_text()
    with pytest.raises(PulumiError) as refusal:
        stack.up("--config", "zhub:userMemory=lots", "--config", "zhub:hostnam=x")
    stack.on_stack("config rm", "zhub:userMemory")
    stack.on_stack("config rm", "zhub:hostnam")
    message = str(refusal.value)
    assert "pulumi config set userMemory" in message
    assert "hostnam" in message
    assert "Traceback" not in message
    resources = [
        json.loads(text)["checkpoint"]["latest"]["resources"]
        for text in (before, stack.state_file.read_text())
    ]
    assert resources[0] == resources[1]


def test_a_port_in_use_is_refused_before_anything_changes(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own = port_of(stack)
        stack.configure({"port": port})
        with pytest.raises(PulumiError) as refusal:
            stack.up()
        stack.configure({"port": own})
    assert "pulumi config set port" in str(refusal.value)
    assert str(port) in str(refusal.value)


def test_a_kernel_and_a_login_outlive_a_replaced_hub(
    stack: Stack, engine: docker.DockerClient
) -> None:
    """It is replaced for a setting; the certificate, brought and then made again, needs no new hub.

    With `protect` on, which is the default: it must not stand in the way.
    """
    alice = logged_in(stack, "alice")
    alice.open_lab()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    [notebook] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    before = engine.containers.get(stack.outputs()["container"])

    brought = Identity.create("localhost", "127.0.0.1", "hub.example.com")
    brought.write(stack.folder, "brought")
    file = str(stack.folder / "brought")
    made = served_pem(stack)
    pair = {"tlsCertFile": f"{file}.crt", "tlsKeyFile": f"{file}.key"}
    stack.configure(pair | {"protect": True, "tokenMaxAge": 86400})
    stack.up()

    wait_until(lambda: served_pem(stack) == Path(f"{file}.crt").read_text(), seconds=60)
    assert before.id != engine.containers.get(stack.outputs()["container"]).id
    [still] = engine.containers.list(filters=stack.labelled("notebook", "alice"))
    assert still.id == notebook.id
    assert kernel.run("print(answer)") == "42\n"
    assert logged_in(stack, "alice").open_lab()

    for key in (*pair, "tokenMaxAge"):
        stack.on_stack("config rm", f"zhub:{key}")
    stack.configure({"protect": False})
    stack.up()
    wait_until(lambda: served_pem(stack) not in (made, Path(f"{file}.crt").read_text()), seconds=60)
    assert kernel.run("print(answer)") == "42\n"
    alice.open_lab()


def test_destroy_leaves_only_the_users_volumes(stack: Stack, engine: docker.DockerClient) -> None:
    assert engine.containers.list(filters=stack.labelled("notebook", "alice"))
    stack.on_stack("destroy", "--yes")
    everything: dict[str, Any] = {"label": f"zhub.stack={stack.prefix}"}
    assert not engine.containers.list(all=True, filters=everything)
    assert not engine.networks.list(filters=everything)
    roles = {
        volume.attrs["Labels"]["zhub.role"] for volume in engine.volumes.list(filters=everything)
    }
    assert roles == {"home", "shared"}
    stack.on_stack("destroy", "--yes")
