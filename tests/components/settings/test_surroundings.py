"""The site's variables, proxies and mirrors: what servers get, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.components.recorder import run
from tests.components.stack_config import NOW, SITE, fixed, read, refused
from tests.pki import Identity, quick_key

MIRRORS = {
    "zhub:pipIndexUrl": "https://packages.example.com/simple",
    "zhub:npmRegistry": "https://packages.example.com/npm/",
}


def environment(**config: str | list[str]) -> dict[str, str]:
    given = {
        f"zhub:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in config.items()
    }
    settings, declared = read(SITE | given)
    assert declared.problems == []
    return dict(settings.users.environment)


def test_a_stack_without_surroundings_adds_nothing() -> None:
    assert environment() == {}


def test_the_mirrors_of_builds_are_the_default() -> None:
    assert read(SITE | MIRRORS)[0].users.environment == {
        "PIP_INDEX_URL": "https://packages.example.com/simple",
        "npm_config_registry": "https://packages.example.com/npm/",
        "COREPACK_NPM_REGISTRY": "https://packages.example.com/npm",
        "NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt",
    }


def test_node_trusts_the_sites_cas_also_without_a_registry_of_the_sites(tmp_path: Path) -> None:
    Identity.create("Authority", authority=True, key=quick_key()).write(tmp_path, "ca")
    found = environment(extraCaFile=str(tmp_path / "ca.crt"))
    assert found == {"NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt"}


def test_users_can_have_other_mirrors_than_builds_or_none() -> None:
    own = {"zhub:userPipIndexUrl": "public", "zhub:userNpmRegistry": "https://npm.example.com"}
    found = read(SITE | MIRRORS | own)[0].users.environment
    assert "PIP_INDEX_URL" not in found
    assert found["npm_config_registry"] == "https://npm.example.com"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_builds_reach_on_their_own_machine_is_no_default(host: str) -> None:
    assert environment(pipIndexUrl=f"http://{host}:3141/simple") == {}


def test_pip_is_told_that_an_index_without_tls_is_meant() -> None:
    found = environment(userPipIndexUrl="http://10.1.2.3:8080/simple")
    assert found["PIP_TRUSTED_HOST"] == "10.1.2.3:8080"


def test_r_and_git_learn_of_their_mirrors() -> None:
    pairs = [
        "https://github.com/=https://git.example.com/github/",
        "https://gitlab.com/=https://git.example.com/gitlab/",
    ]
    assert environment(userCranMirror="https://cran.example.com", userGitMirrors=pairs) == {
        "CRAN_MIRROR": "https://cran.example.com",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "url.https://git.example.com/github/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "GIT_CONFIG_KEY_1": "url.https://git.example.com/gitlab/.insteadOf",
        "GIT_CONFIG_VALUE_1": "https://gitlab.com/",
    }


def test_a_proxy_is_set_in_both_spellings_and_never_for_the_hub() -> None:
    found = environment(
        userEnvironment=["https_proxy=http://proxy:3128", "NO_PROXY=.example.com,hub", "TZ=UTC"]
    )
    assert found == {
        "TZ": "UTC",
        "HTTPS_PROXY": "http://proxy:3128",
        "https_proxy": "http://proxy:3128",
        "NO_PROXY": ".example.com,hub,localhost,127.0.0.1",
        "no_proxy": ".example.com,hub,localhost,127.0.0.1",
    }


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("TZ", "not a variable, such as TZ=Europe/Berlin"),
        ("1X=y", "not a variable"),
        ("=x", "not a variable"),
        ("A-B=x", "not a variable"),
        ("PATH=/opt/bin", "the server itself needs this variable"),
        ("JUPYTERHUB_API_TOKEN=x", "the server itself needs this variable"),
        ("ZHUB_X=1", "the server itself needs this variable"),
        ("LD_PRELOAD=/x.so", "the server itself needs this variable"),
        ("REQUESTS_CA_BUNDLE=/x", "the server itself needs this variable"),
        ("PIP_INDEX_URL=https://x.example.com", "the setting userPipIndexUrl is for this"),
        ("A=one\ntwo", "not one line of at most 4096"),
        (f"A={'x' * 4097}", "not one line of at most 4096"),
    ],
)
def test_a_variable_that_servers_do_not_take_is_refused(entry: str, reason: str) -> None:
    said = refused(SITE | {"zhub:userEnvironment": json.dumps(["LC_ALL=C", entry])})
    assert reason in said
    assert "userEnvironment[1]" in said


@pytest.mark.parametrize(
    "entry",
    [
        "DB_PASSWORD=swordfish",
        "HF_TOKEN=swordfish",
        "AWS_SECRET_ACCESS_KEY=swordfish",
        "API_KEY=swordfish",
        "registry_auth=swordfish",
        "PGPASSWORD=swordfish",
        "HTTPS_PROXY=http://me:swordfish@proxy.example.com:3128",
        "HTTPS_PROXY=http://swordfish@proxy.example.com:3128",
        "X=-----BEGIN PRIVATE KEY----- swordfish",
        "X=ghp_swordfishswordfishswordfish",
        "X=AKIASWORDFISHSWORDFI",
        "X=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzd29yZGZpc2gifQ.swordfish",
    ],
)
def test_what_looks_like_a_secret_is_refused_and_not_shown(entry: str) -> None:
    said = refused(SITE | {"zhub:userEnvironment": json.dumps(["TZ=UTC", entry])})
    assert "looks like a secret" in said
    assert "every program of every user reads it" in said
    assert "swordfish" not in said.lower()
    assert said.endswith("pulumi config rm --path 'userEnvironment[1]'")


@pytest.mark.parametrize(
    "entry",
    [
        "TOKENIZERS_PARALLELISM=false",
        "AWS_SHARED_CREDENTIALS_FILE=/home/jovyan/.aws/credentials",
        "PUBLIC_URL=https://example.com/a?b=c@d",
        "OMP_NUM_THREADS=2",
        "KRB5_CONFIG=/etc/krb5.conf",
        "LC_ALL=de_DE.UTF-8",
    ],
)
def test_what_only_resembles_a_secret_is_taken(entry: str) -> None:
    assert entry.partition("=")[0] in environment(userEnvironment=[entry])


def test_a_variable_given_twice_is_refused_and_the_command_fixes_it() -> None:
    config = SITE | {"zhub:userEnvironment": '["TZ=UTC", "TZ=Europe/Berlin"]'}
    assert "TZ: given twice" in refused(config)
    assert fixed(config, set()).users.environment == {"TZ": "UTC"}


@pytest.mark.parametrize(
    "pair", ["https://github.com/", "github.com=https://x", "https://a/=ftp://b"]
)
def test_what_is_no_git_mirror_is_refused(pair: str) -> None:
    assert "not ADDRESS=MIRROR" in refused(SITE | {"zhub:userGitMirrors": json.dumps([pair])})


def test_a_mirror_with_a_password_is_refused_and_not_shown() -> None:
    pair = "https://github.com/=https://me:swordfish@git.example.com/"
    said = refused(SITE | {"zhub:userGitMirrors": json.dumps([pair])})
    assert "holds a name or password" in said
    assert "swordfish" not in said


@pytest.mark.parametrize(
    ("config", "warned"),
    [
        ({}, 1),
        ({"zhub:userAllowedNetworks": '["10.1.2.0/24"]'}, 0),
        ({"zhub:userInternetAccess": "false"}, 1),
        ({"zhub:userInternetAccess": "false", "zhub:userAllowedNetworks": '["10.1.2.3"]'}, 0),
    ],
)
def test_a_mirror_that_servers_do_not_reach_is_a_warning(
    config: dict[str, str], warned: int
) -> None:
    mirror = {"zhub:userPipIndexUrl": "https://10.1.2.3/simple"}
    warnings = read(SITE | mirror | config)[0].warnings(NOW)
    found = [text for text in warnings if "10.1.2.3, which they do not reach" in text]
    assert len(found) == warned


def test_a_proxy_of_a_profile_that_servers_do_not_reach_is_a_warning() -> None:
    profiles = [
        {"name": "a", "environment": ["HTTPS_PROXY=http://10.1.2.3:3128"]},
        {"name": "b"},
    ]
    settings, _ = read(SITE | {"zhub:profiles": json.dumps(profiles)})
    [found] = [text for text in settings.warnings(NOW) if "which they do not reach" in text]
    assert found.startswith("HTTPS_PROXY of users' servers names 10.1.2.3, which they do not")


def test_hub_and_guard_get_the_same_variables() -> None:
    recording = run(SITE | {"zhub:userEnvironment": '["TZ=UTC"]'})
    for role in ("hub", "guard"):
        env = recording.one("Container", role).inputs["envs"]
        assert 'ZHUB_USER_ENVIRONMENT={"TZ": "UTC"}' in env
