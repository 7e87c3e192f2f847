"""Where logs go, what is in them, and what is refused."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from components.settings import logs
from components.settings.logs import DEFAULTS, OPTIONS, Driver, option
from tests.components.recorder import environment, run
from tests.components.stack_config import NOW, SITE, fixed, read, refused


def config(driver: str = "", options: list[str] | None = None, **more: str) -> dict[str, str]:
    given = {"zhub:logDriver": driver} if driver else {}
    if options is not None:
        given["zhub:logOptions"] = json.dumps(options)
    return SITE | given | {f"zhub:{key}": value for key, value in more.items()}


def warned(driver: str, options: list[str]) -> list[str]:
    settings, declared = read(config(driver, options))
    assert declared.problems == []
    return [text for text in settings.warnings(NOW) if text.startswith("log")]


def test_a_stack_that_says_nothing_keeps_thirty_megabytes_of_text() -> None:
    logs = read(config())[0].logs
    assert (logs.driver, logs.options) == ("json-file", {"max-file": "3", "max-size": "10m"})
    assert (logs.level, logs.form) == ("info", "text")
    assert warned("", []) == []


@pytest.mark.parametrize("driver", list(Driver))
def test_every_driver_has_defaults_that_it_takes(driver: Driver) -> None:
    logs = read(config(driver))[0].logs
    assert logs.options == DEFAULTS[driver]
    assert logs.options.keys() <= OPTIONS[driver]
    for name, value in logs.options.items():
        assert option(f"{name}={value}")
    assert warned(driver, []) == []


def test_options_are_added_to_the_stacks_own() -> None:
    logs = read(config("json-file", ["max-size=50m", "tag={{.Name}}=x"]))[0].logs
    assert logs.options == {"max-file": "3", "max-size": "50m", "tag": "{{.Name}}=x"}


@pytest.mark.parametrize(
    ("driver", "options", "reason"),
    [
        ("splunk", None, 'logDriver is "splunk": not one of json-file, local, journald, syslog'),
        ("none", None, 'logDriver is "none": not one of json-file'),
        ("", ["max-size"], "not an option, such as max-size=20m"),
        ("", ["max-size=0"], "max-size is not a number from 1 up, or one with k, m or g"),
        ("", ["max-size=-1"], "max-size is not a number from 1 up"),
        ("", ["max-file=2", "max-file=3"], "max-file: given twice"),
        ("", ["env=JUPYTERHUB_API_TOKEN"], "a user's server has its token in one"),
        ("", ["env-regex=.*"], "env-regex puts variables into each line"),
        ("", ["tag=a\nb"], "tag is not one line"),
        ("journald", ["max-size=10m"], "max-size is no option of logDriver journald"),
        ("journald", ["splunk-token=abc"], "splunk-token is no option that a stack may set"),
        ("", ["max-buffer-size=1m"], "which the engine takes only with mode=non-blocking"),
        ("", ["max-file=2m"], "max-file is not a number from 1 up"),
        ("", ["mode=nonblocking"], "mode is not blocking or non-blocking"),
        ("", ["compress=yes"], "compress is not true or false"),
        ("", ["tag=x", "compress=true", "max-file=1"], "json-file compresses all files but"),
        ("local", ["max-file=1"], "has max-file=1, and logDriver local compresses all files but"),
        ("fluentd", ["fluentd-async=on"], "fluentd-async is not true or false"),
        ("fluentd", ["fluentd-address=logs.example.com:24224:1"], "fluentd-address is not HOST:"),
        ("fluentd", ["fluentd-retry-wait=2"], "fluentd-retry-wait is not a time such as 500ms"),
        ("fluentd", ["fluentd-max-retries=-1"], "fluentd-max-retries is not a whole number"),
        ("fluentd", ["fluentd-buffer-limit=big"], "fluentd-buffer-limit is not a number of bytes"),
        ("syslog", ["syslog-address=logs.example.com:514"], "syslog-address is not udp://HOST:P"),
        ("syslog", ["syslog-facility=local8"], "syslog-facility is not a facility such as"),
        ("syslog", ["syslog-format=rfc5425"], "syslog-format is not rfc5424, rfc5424micro or"),
        ("syslog", ["syslog-tls-skip-verify=false"], "is left out, it is verified"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_before(
    driver: str, options: list[str] | None, reason: str
) -> None:
    given = config(driver, options)
    assert reason in refused(given)
    assert fixed(given, set()).logs.options


@pytest.mark.parametrize(
    "given",
    [
        *("max-size=999999g", "max-buffer-size=4m", "cache-max-size=20m", "cache-disabled=true"),
        *("fluentd-address=logs.example.com", "fluentd-address=tcp://[2001:db8::1]:24224"),
        *("fluentd-buffer-limit=1048576", "fluentd-buffer-limit=8MB", "fluentd-max-retries=0"),
        *("fluentd-retry-wait=1m30s", "fluentd-retry-wait=1.5s", "syslog-address=udp://[::1]:514"),
        *("syslog-facility=local7", "syslog-facility=23", "syslog-tls-skip-verify=true"),
    ],
)
def test_what_the_engine_takes_is_taken(given: str) -> None:
    assert option(given) == given


@pytest.mark.parametrize(
    "options",
    [
        ["syslog-address=tcp+tls://me:hunter2@logs.example.com:6514"],
        ["tag=glpat-hunter2hunter2hunter2"],
        ["splunk-token=hunter2"],
        ["https://me:hunter2@logs.example.com"],
    ],
)
def test_options_with_secrets_are_refused_and_not_shown(options: list[str]) -> None:
    assert "hunter2" not in refused(config("syslog", options))


@pytest.mark.parametrize(
    ("driver", "option", "warnings"),
    [
        ("syslog", "syslog-address=udp://192.0.2.1:514", ["in clear"]),
        ("syslog", "syslog-address=tcp://logs.example.com:514", ["in clear", "users' servers sta"]),
        ("syslog", "syslog-address=tcp+tls://logs.example.com:6514", ["users' servers start"]),
        ("syslog", "syslog-address=unixgram:///dev/log", []),
        ("syslog", "syslog-address=udp://127.0.0.1:514", []),
        ("syslog", "syslog-tls-skip-verify=true", ["syslog-tls-skip-verify"]),
        ("fluentd", "fluentd-address=192.0.2.1:24224", ["in clear"]),
        ("fluentd", "fluentd-address=localhost:24224", []),
        ("fluentd", "fluentd-address=unix:///run/fluent.sock", []),
    ],
)
def test_what_is_insecure_or_fragile_is_warned_of(
    driver: str, option: str, warnings: list[str]
) -> None:
    found = warned(driver, [option])
    assert len(found) == len(warnings)
    assert all(part in text for part, text in zip(warnings, found, strict=True))


def test_details_are_warned_of() -> None:
    [warning] = [
        text
        for text in read(config(logLevel="debug"))[0].warnings(NOW)
        if text.startswith("logLevel")
    ]
    assert "what users do" in warning


def test_a_machine_without_a_journal_is_warned_of(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = short_folder / "socket"
    monkeypatch.setattr(logs, "JOURNAL", path)

    def warnings(driver: str) -> list[str]:
        return list(logs.without_journal(read(config(driver))[0].logs))

    [warning] = warnings("journald")
    assert f"this machine has no journal ({path})" in warning
    assert warnings("json-file") == []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        assert warnings("journald") == []


def test_all_containers_log_alike_and_users_servers_with_them() -> None:
    chosen = config("journald", ["tag=z"], separateProxy="true", logLevel="error", logFormat="json")
    del chosen["zhub:ldapServer"], chosen["zhub:ldapDnTemplates"], chosen["zhub:ldapAllowEveryone"]
    found = run(chosen | {"zhub:demoDirectory": "true"})
    options = {
        "labels": "zhub.stack,zhub.role,zhub.user",
        "mode": "non-blocking",
        "tag": "z",
    }
    logs = {
        one.name: (one.inputs["logDriver"], one.inputs.get("logOpts"))
        for one in found.all("Container")
    }
    said = {name: log for name, log in logs.items() if log[0] != "none"}
    assert said == dict.fromkeys(
        ("hub-beside-proxy", "proxy", "guard", "directory"), ("journald", options)
    )
    # What never says anything keeps nothing, and is not replaced when the driver changes.
    assert set(logs) - set(said) == {"files", "front", "notebookimage", "filterimage"}
    for name in ("hub-beside-proxy", "guard"):
        env = environment(found.one("Container", name))
        assert env["ZHUB_LOG_DRIVER"] == "journald"
        assert json.loads(env["ZHUB_LOG_OPTIONS"]) == options
        assert (env["ZHUB_LOG_LEVEL"], env["ZHUB_LOG_FORMAT"]) == ("error", "json")
    [text] = found.one("Container", "proxy").inputs["command"]
    proxy = json.loads(text)
    assert (proxy["logLevel"], proxy["logFormat"]) == ("error", "json")
