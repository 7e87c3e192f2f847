"""Variables of a server: those that JupyterHub sets are allowed, all others are refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zhub import settings
from zhub.guard.environment import Image, WrongVariable, check
from zhub.servers.spawner import UserSpawner

IMAGE = Image(("start",), frozenset({"PATH", "LANG"}))
SETTINGS = settings.read_guard({"ZHUB_PREFIX": "site", "ZHUB_NOTEBOOK_IMAGE": "sha256:12"})

#: User names as the hub has them: as at the login page, in lower case.
NAMES = ["alice", "a.b-c_d", "ibm@corp", "#1$", "x" * 64]


def environment(user: str, host: str = "") -> dict[str, str]:
    """Return what JupyterHub's own code sets for a user, with or without a subdomain."""
    # JupyterHub replaces names that cannot be part of a host name by a digest.
    label = user if user.isalnum() else "u-name--1a2b3c4"
    own = host.replace("https://", f"https://{label}.") if host else ""
    path = f"/site/user/{quote(user, safe='@~')}/"
    spawner = UserSpawner(mock=True)
    spawner.user = SimpleNamespace(
        name=user, url=f"{own}{path}", escaped_name=quote(user, safe="@~")
    )
    spawner.hub = SimpleNamespace(
        public_host=host, api_url="http://127.0.0.1:8081/site/hub/api", base_url="/site/hub/"
    )
    spawner.orm_spawner = None
    spawner._server = SimpleNamespace(base_url=path)
    spawner.hub_connect_url = "http://hub:8081"
    spawner.api_token = "0123456789abcdef" * 2
    spawner.oauth_client_id = f"jupyterhub-user-{quote(user)}"
    spawner.public_url = f"{own}{path}" if host else ""
    spawner.public_hub_url = f"{host}/site/hub/" if host else ""
    spawner.cookie_host_prefix_enabled = bool(host)
    spawner.image = "sha256:12"
    spawner.mem_limit, spawner.cpu_limit = "2G", 2.0
    spawner.notebook_dir = "/home/jovyan"
    spawner.disable_user_config = True
    spawner.environment = {
        "ZHUB_KERNEL_IDLE_TIMEOUT": "0",
        "JUPYTERHUB_ACTIVITY_INTERVAL": "60",
    }
    found: dict[str, str] = spawner.get_env()
    return found


def variables(made: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in made.items()]


@pytest.mark.parametrize("user", NAMES)
@pytest.mark.parametrize("host", ["", "https://hub.example.com:11119"])
def test_variables_that_jupyterhub_sets_are_allowed(user: str, host: str) -> None:
    made = environment(user, host)
    assert len(made) > 20
    check(variables(made), SETTINGS, SETTINGS.only_profile, IMAGE, user)


@pytest.mark.parametrize("name", sorted(environment("alice")))
def test_no_variable_takes_a_value_of_another_form(name: str) -> None:
    """Other values: a path, code, another user's value, or the right one with an addition."""
    made = environment("alice", "https://hub.example.com:11119")
    for value in (
        "/home/jovyan/evil.so",
        "$(id)",
        f"{made[name]}\n",
        f"{made[name]}\nLD_PRELOAD=x",
        f"{made[name]} x",
        f" {made[name]}",
        f"{made[name]}\0",
        environment("bob")[name] if "bob" in environment("bob")[name] else "x" * 4096,
    ):
        with pytest.raises(WrongVariable):
            check(variables(made | {name: value}), SETTINGS, SETTINGS.only_profile, IMAGE, "alice")


#: Variables that change the loader, an interpreter, a shell or the server. JupyterHub sets none.
HOSTILE = """
    LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GLIBC_TUNABLES GCONV_PATH MALLOC_CHECK_ LOCPATH NLSPATH
    PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONWARNINGS PYTHONBREAKPOINT PYTHONUSERBASE
    PATH HOME SHELL USER BASH_ENV ENV IFS PS4 PROMPT_COMMAND EDITOR BROWSER PAGER TERMINFO TZ LANG
    JUPYTER_PATH JUPYTER_CONFIG_PATH JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR
    JUPYTERHUB_SINGLEUSER_APP JUPYTERHUB_SINGLEUSER_EXTENSION JUPYTERHUB_ADMIN_ACCESS
    JUPYTERHUB_ALLOW_TOKEN_IN_URL JUPYTERHUB_SSL_KEYFILE JUPYTERHUB_DEFAULT_URL JUPYTERHUB_DEBUG
    JUPYTERHUB_COOKIE_OPTIONS JUPYTERLAB_DIR JUPYTERLAB_SETTINGS_DIR IPYTHONDIR
    NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS HTTP_PROXY http_proxy https_proxy ALL_PROXY no_proxy
    REQUESTS_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE OPENSSL_CONF CURL_CA_BUNDLE
    GIT_SSH_COMMAND GIT_CONFIG_GLOBAL PIP_INDEX_URL PIP_CONFIG_FILE OMP_NUM_THREADS TMPDIR
    jupyterhub_user JUPYTERHUB_USER_ X
    """.split()  # noqa: SIM905 - a name a line is no better


@pytest.mark.parametrize("name", HOSTILE)
def test_no_other_variable_is_allowed(name: str) -> None:
    for value in ("x", ""):
        with pytest.raises(WrongVariable, match=f"Env has {name}"):
            check(
                [*variables(environment("alice")), f"{name}={value}"],
                SETTINGS,
                SETTINGS.only_profile,
                IMAGE,
                "alice",
            )


def test_the_sites_variables_are_allowed_with_exactly_their_values() -> None:
    named = {"TZ": "Europe/Berlin", "MEM_LIMIT": "1", "JUPYTERHUB_USER": "bob"}
    of_site = replace(SETTINGS, user_environment=named)
    made = environment("alice")
    check([*variables(made), "TZ=Europe/Berlin"], of_site, of_site.only_profile, IMAGE, "alice")
    for value in ("Europe/Berlin ", "Europe/Berlin\nLD_PRELOAD=x", "", "UTC"):
        with pytest.raises(WrongVariable, match="TZ with a value"):
            check([*variables(made), f"TZ={value}"], of_site, of_site.only_profile, IMAGE, "alice")
    # None of the server's own can be changed in this way.
    with pytest.raises(WrongVariable, match="JUPYTERHUB_USER with a value"):
        check(
            variables(made | {"JUPYTERHUB_USER": "bob"}),
            of_site,
            of_site.only_profile,
            IMAGE,
            "alice",
        )


def test_variables_of_the_image_cannot_be_changed() -> None:
    """Not even one that JupyterHub sets, which a site's own image may set as well."""
    image = Image((), frozenset({"MEM_LIMIT"}))
    with pytest.raises(WrongVariable, match="MEM_LIMIT, which only the image may set"):
        check(variables(environment("alice")), SETTINGS, SETTINGS.only_profile, image, "alice")


def test_a_variable_given_twice_is_refused() -> None:
    with pytest.raises(WrongVariable, match="twice"):
        check(
            [*variables(environment("alice")), "MEM_LIMIT=1"],
            SETTINGS,
            SETTINGS.only_profile,
            IMAGE,
            "alice",
        )


def test_the_variable_that_disables_user_config_is_required() -> None:
    made = environment("alice")
    del made["JUPYTERHUB_DISABLE_USER_CONFIG"]
    with pytest.raises(WrongVariable, match="lacks JUPYTERHUB_DISABLE_USER_CONFIG"):
        check(variables(made), SETTINGS, SETTINGS.only_profile, IMAGE, "alice")


@pytest.mark.parametrize("text", ["", "=", "=x", "A B=x", "MEM_LIMIT", "1A=x", "A-B=x", "A.B=x"])
def test_an_entry_that_is_not_a_variable_is_refused(text: str) -> None:
    with pytest.raises(WrongVariable):
        check(
            [*variables(environment("alice")), text],
            SETTINGS,
            SETTINGS.only_profile,
            IMAGE,
            "alice",
        )


def test_a_refusal_does_not_show_the_value() -> None:
    made = environment("alice") | {"JUPYTERHUB_API_TOKEN": "secret !"}
    with pytest.raises(WrongVariable) as caught:
        check(variables(made), SETTINGS, SETTINGS.only_profile, IMAGE, "alice")
    assert "secret" not in str(caught.value)


@hypothesis.settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_other_text_is_refused(texts: list[str]) -> None:
    known = variables(environment("alice"))
    if not texts:
        check(known, SETTINGS, SETTINGS.only_profile, IMAGE, "alice")
        return
    with pytest.raises(WrongVariable):
        check([*known, *texts], SETTINGS, SETTINGS.only_profile, IMAGE, "alice")


def test_command_and_variables_are_read_from_the_image() -> None:
    client: Any = SimpleNamespace(
        inspect_image=lambda _: {"Config": {"Cmd": None, "Env": ["A=b=c", "EMPTY="]}}
    )
    assert Image.of_engine(client, "x") == Image((), frozenset({"A", "EMPTY"}))
