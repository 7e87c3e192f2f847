"""Who may choose which profile, what the page shows, and what a server gets."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tornado import web
from zhub.front import site
from zhub.servers import idle, profiles
from zhub.servers.choosing import apply_options
from zhub.servers.spawner import UserSpawner

from tests.images.hub.profiles import profile

STANDARD = profile("standard", description="For <courses>")
LARGE = profile(
    "large",
    "quants",
    memory="4096M",
    cpus=2.0,
    environment={"SIZE": "large"},
    devices=("z90crypt",),
)
STUDENTS = profile("students", "students")
ALL = (STANDARD, LARGE, STUDENTS)

FORM = SimpleNamespace(request=SimpleNamespace(method="POST"))
PAGE = SimpleNamespace(request=SimpleNamespace(method="GET"))


def api(options: dict[str, Any] | None) -> SimpleNamespace:
    """A request of the API, as JupyterHub's class reads it."""
    return SimpleNamespace(get_server_json_body=lambda: {"user_options": options})


def made(*groups: str, options: dict[str, Any] | None = None, unknown: bool = False) -> UserSpawner:
    """A spawner of a user in these groups, with the options that JupyterHub's database has."""
    found = UserSpawner(mock=True, profiles=list(ALL))
    found.user = SimpleNamespace(name="alice", db=SimpleNamespace(commit=lambda: None))
    answers: dict[str, frozenset[str]] = {} if unknown else {"alice": frozenset(groups)}

    async def refresh_user(user: Any) -> None:
        answers.update({user.name: frozenset(groups)} if groups else {})

    found.authenticator = SimpleNamespace(groups_of=answers.get, refresh_user=refresh_user)
    found.orm_spawner = SimpleNamespace(user_options=options, server=None, name="")
    found.handler = FORM
    found.environment = {"ZHUB_KERNEL_IDLE_TIMEOUT": "0", "SITE": "x"}
    found.extra_host_config = {"cap_drop": ["ALL"], "pids_limit": 512}
    return found


def shown(spawner: UserSpawner) -> str:
    """The page's part to choose, as JupyterHub asks for it."""
    page: str = asyncio.run(spawner.get_options_form())
    return page


def test_the_page_offers_what_the_user_may_have_and_marks_the_last_choice() -> None:
    page = shown(made("quants", options={"profile": "large"}))
    assert 'value="standard"' in page
    assert 'value="large" required checked' in page
    assert "students" not in page
    assert "For &lt;courses&gt;" in page
    assert "4GB of memory, 2 processors" in page


def test_the_page_marks_the_first_of_who_has_not_chosen_yet() -> None:
    assert 'value="standard" required checked' in shown(made("quants"))


def test_with_one_profile_or_none_there_is_no_page() -> None:
    assert shown(made()) == ""
    only = made()
    only.profiles = [LARGE]
    assert shown(only) == ""
    assert UserSpawner(mock=True).options_form == ""


def test_a_choice_that_was_lost_with_its_group_is_forgotten() -> None:
    left = made(options={"profile": "large"})
    assert shown(left) == ""
    assert left.orm_spawner.user_options is None
    apply_options(left, {})
    assert left.user_options == {"profile": "standard"}


def test_a_server_gets_what_its_profile_says_and_the_choice_is_kept() -> None:
    spawner = made("quants")
    apply_options(spawner, {"profile": "large"})
    assert spawner.orm_spawner.user_options == {"profile": "large"}
    assert (spawner.image, spawner.cpu_limit) == ("sha256:12", 2.0)
    assert int(spawner.mem_limit) == 4 << 30
    assert spawner.environment == {
        "ZHUB_KERNEL_IDLE_TIMEOUT": "0",
        "SIZE": "large",
        "ZHUB_PROFILE": "large",
    }
    assert spawner.extra_host_config == {
        "cap_drop": ["ALL"],
        "memswap_limit": "4096M",
        "shm_size": "256M",
        "pids_limit": 100,
        "devices": ["/dev/z90crypt:/dev/z90crypt:rw"],
    }
    # Nothing of it is left in the next server.
    apply_options(spawner, {"profile": "standard"})
    assert "SIZE" not in spawner.environment
    assert spawner.extra_host_config["devices"] == []
    assert int(spawner.mem_limit) == 1 << 30


def test_a_profile_of_other_groups_is_refused_and_forgotten() -> None:
    for name in ("large", "students", "", "../x"):
        spawner = made(options={"profile": name})
        with pytest.raises(web.HTTPError, match="You may not have a server with") as caught:
            apply_options(spawner, {"profile": name})
        assert caught.value.status_code == 403
        assert spawner.orm_spawner.user_options is None


@pytest.mark.parametrize("handler", [None, PAGE, api(None)], ids=["hub", "page", "api"])
@pytest.mark.parametrize("last", ["large", "renamed"])
def test_a_last_choice_that_is_gone_keeps_no_server_from_starting(
    last: str, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its group was left, or the stack has no such profile any more, and the request names none."""
    spawner = made(options={"profile": last})
    spawner.handler = handler
    apply_options(spawner, {"profile": last})
    assert spawner.user_options == {"profile": "standard"}
    assert spawner.orm_spawner.user_options == {"profile": "standard"}
    assert "starting alice without what was chosen last: HTTP 403" in caplog.text
    # In a stack that has no profiles any more, either.
    spawner = made(options={"profile": last})
    spawner.handler, spawner.profiles = handler, []
    apply_options(spawner, {"profile": last})
    assert spawner.user_options == {}
    assert spawner.orm_spawner.user_options is None


@pytest.mark.parametrize("handler", [FORM, api({"profile": "large"})], ids=["form", "api"])
def test_a_choice_that_is_made_now_is_refused_where_it_is_gone(handler: Any) -> None:
    for known in (list(ALL), []):
        spawner = made()
        spawner.handler, spawner.profiles = handler, known
        with pytest.raises(web.HTTPError):
            apply_options(spawner, {"profile": "large"})


def test_a_last_choice_outlives_a_directory_that_does_not_answer() -> None:
    spawner = made(unknown=True, options={"profile": "large"})
    spawner.handler = api(None)
    with pytest.raises(profiles.NoProfileError, match="directory does not answer"):
        apply_options(spawner, {"profile": "large"})
    assert spawner.orm_spawner.user_options == {"profile": "large"}


def test_who_has_lost_all_profiles_gets_no_server() -> None:
    spawner = made(options={"profile": "large"})
    spawner.handler, spawner.profiles = PAGE, [LARGE]
    with pytest.raises(profiles.NoProfileError, match="You are in no group"):
        apply_options(spawner, {"profile": "large"})


def test_a_user_without_any_profile_reads_why_and_whom_to_ask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(site, "FILE", tmp_path / "site.json")
    (tmp_path / "site.json").write_text('{"contact": "help@example.com"}')
    with pytest.raises(profiles.NoProfileError) as caught:
        profiles.chosen((LARGE, STUDENTS), ["others"], {})
    said = caught.value.jupyterhub_message
    assert "You are in no group for which this hub has a server" in said
    assert said.endswith("If you think that you should be in one, ask: help@example.com")


def test_an_administrators_page_looks_the_user_up() -> None:
    spawner = made("quants", unknown=True)
    assert spawner.options_from_form({"profile": ["students"]}) == {"profile": "students"}
    assert 'value="large"' in shown(spawner)
    with pytest.raises(web.HTTPError):
        spawner.options_from_form({"profile": ["students"]})


def test_while_the_directory_does_not_answer_there_is_what_everybody_may_have() -> None:
    """As after a restart of the hub."""
    spawner = made(unknown=True, options={"profile": "large"})
    assert shown(spawner) == ""
    # The start asks once more, so the choice is kept until then.
    assert spawner.orm_spawner.user_options == {"profile": "large"}
    with pytest.raises(profiles.NoProfileError, match="directory does not answer") as caught:
        apply_options(spawner, {"profile": "large"})
    assert caught.value.status_code == 503
    apply_options(spawner, {})
    assert spawner.user_options == {"profile": "standard"}
    with pytest.raises(profiles.NoProfileError, match="directory does not answer"):
        profiles.chosen((LARGE, STUDENTS), None, {})
    # Of a profile that there is not, it has nothing to say.
    with pytest.raises(profiles.NoProfileError, match="You may not have"):
        profiles.chosen(ALL, None, {"profile": "renamed"})


@pytest.mark.parametrize(
    "options",
    [{"image": "debian"}, {"profile": ["large"]}, {"profile": "large", "cpu": "9"}],
)
def test_other_options_are_refused_and_forgotten(options: dict[str, Any]) -> None:
    spawner = made("quants", options=options)
    with pytest.raises(web.HTTPError, match="no options but profile") as caught:
        apply_options(spawner, options)
    assert caught.value.status_code == 400
    assert spawner.orm_spawner.user_options is None


def test_without_profiles_all_options_are_refused() -> None:
    spawner = made(options={"profile": "large"})
    spawner.profiles = []
    with pytest.raises(web.HTTPError, match="have no options"):
        apply_options(spawner, {"profile": "large"})
    assert spawner.orm_spawner.user_options is None
    apply_options(spawner, {})
    assert spawner.environment == {"ZHUB_KERNEL_IDLE_TIMEOUT": "0", "SITE": "x"}


def test_a_form_and_a_link_name_the_profile() -> None:
    spawner = made("quants")
    assert spawner.options_from_form({"profile": ["large"]}) == {"profile": "large"}
    assert spawner.options_from_query({"profile": ["large"]}) == {"profile": "large"}
    # JupyterHub's own field of the form.
    assert spawner.options_from_form({"_xsrf": ["y"]}) == {}
    # Said on the page itself, before anything is started.
    for wrong in ({"profile": ["standard", "large"]}, {"profile": ["students"]}, {"x": ["y"]}):
        with pytest.raises(web.HTTPError):
            spawner.options_from_form(wrong)
    assert spawner.orm_spawner.user_options is None


LISTED = (
    '[{"name": "short", "description": "", "groups": [], "memory": "1G", "sharedMemory": "1G",'
    ' "cpus": "1", "pids": 100, "idleTimeout": 600, "environment": {}, "devices": []},'
    ' {"name": "endless", "description": "", "groups": [], "memory": "1G", "sharedMemory": "1G",'
    ' "cpus": "1", "pids": 100, "idleTimeout": 0, "environment": {}, "devices": []}]'
)


@pytest.mark.parametrize(
    ("name", "minutes", "stopped"),
    [
        ("short", 11, True),
        ("short", 9, False),
        ("endless", 9999, False),
        (None, 61, True),
        (None, 59, False),
        ("gone", 61, True),
    ],
)
def test_a_server_is_idle_for_as_long_as_its_profile_says(
    name: str | None,
    minutes: int,
    stopped: bool,  # noqa: FBT001
) -> None:
    decide = idle.arbiter({"ZHUB_PROFILES": LISTED})
    server = {"user_options": {"profile": name} if name else None}
    # As the culler calls it.
    found = decide(inactive=timedelta(minutes=minutes), inactive_limit=3600, server=server)
    assert found is stopped
