"""The CLI's wrapper, its language host and the provider plugins."""

from __future__ import annotations

import shlex
from pathlib import Path

from toolchain.console import run, say, timed
from toolchain.environment import PYTHON
from toolchain.pins import EARLIER_PLUGINS, PLUGINS, earlier_plugins
from toolchain.places import BIN, CLI, PULUMI_HOME, ROOT, STATE

STEP = "plugins"

#: Written by `pulumi login`: the operator keeps the state elsewhere.
CREDENTIALS = PULUMI_HOME / "credentials.json"

SCRIPT = b"#!/bin/sh\n"

#: Marks a plugin that this toolchain downloaded from Pulumi.
GOT = "got-by-zhub"

#: The most that the logs of all Pulumi commands may take.
LOG_MEGABYTES = 50


def _script(path: Path, *lines: str) -> None:
    """Write an executable shell script, unless it exists unchanged."""
    text = SCRIPT + "\n".join([*lines, ""]).encode()
    if path.exists() and path.read_bytes() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(text)
    new.chmod(0o755)
    new.replace(path)


def python() -> str:
    """The command that a shell script uses for this clone's Python."""
    # With -P, a module in the current folder cannot replace ours.
    return f"{shlex.quote(str(PYTHON))} -P"


def _write_wrapper() -> None:
    """Write the `pulumi` that needs nothing but its folder on PATH."""
    home, credentials = shlex.quote(str(PULUMI_HOME)), shlex.quote(str(CREDENTIALS))
    backend = f"${{PULUMI_BACKEND_URL:-{STATE.as_uri()}}}"
    _script(
        BIN / "pulumi",
        f"export PULUMI_HOME={home}",
        # Without a route to Pulumi, the update check costs seconds. A plugin on PATH may have any
        # version.
        "export PULUMI_SKIP_UPDATE_CHECK=true PULUMI_IGNORE_AMBIENT_PLUGINS=true",
        # Pulumi logs every command; its default limit is ten times as much.
        f"export PULUMI_LOG_ROTATION_MAX_TOTAL_MB={LOG_MEGABYTES}",
        # Pulumi's own check stops at the first wrong setting; the program reports all.
        "export PULUMI_OPTION_SKIP_CONFIG_VALIDATION=true",
        f'[ -e {credentials} ] || export PULUMI_BACKEND_URL="{backend}"',
        f'PATH={shlex.quote(str(BIN))}:$PATH exec {python()} -m toolchain.command "$@"',
    )


def plugin_path(name: str, version: str = "") -> Path:
    """The path where Pulumi looks for an installed plugin and uses it without a warning.

    Args:
        name: of the plugin.
        version: of it; the pinned one if empty.
    """
    folder = f"resource-{name}-v{version or PLUGINS[name]}"
    return PULUMI_HOME / "plugins" / folder / f"pulumi-resource-{name}"


def _of_the_operator(name: str, path: Path) -> bool:
    """Whether an operator installed this plugin, such as one built from Pulumi's sources."""
    if not path.exists() or path.with_name(GOT).exists():
        return False
    text = path.read_bytes()
    # The script of another clone or an older release differs a little.
    return not (text.startswith(SCRIPT) and f" -m plugins.{name} ".encode() in text)


def ensure(*, official: bool) -> None:
    """Write the wrapper and install language host and plugins.

    A plugin that an operator installed is never overwritten.

    Args:
        official: the CLI is Pulumi's own release: it has its language host, and its plugins are
            downloaded. Otherwise this project's are used.

    Raises:
        Problem: Pulumi's own plugins cannot be downloaded.
    """
    STATE.mkdir(mode=0o700, exist_ok=True)
    _write_wrapper()
    wanted = list(PLUGINS.items())
    if not official:
        host = shlex.quote(str(ROOT / "toolchain" / "language_host.py"))
        _script(CLI / "pulumi-language-python", f'exec {python()} {host} "$@"')
        # Pulumi's release of the CLI downloads these itself where a stack needs them.
        wanted += earlier_plugins(EARLIER_PLUGINS)
    for name, version in dict.fromkeys(wanted):
        path = plugin_path(name, version)
        if _of_the_operator(name, path):
            say(STEP, f"the {name} plugin is not this project's and is kept: {path}")
        elif official:
            _install_official(name)
        else:
            path.with_name(GOT).unlink(missing_ok=True)
            _script(path, f'exec {python()} -m plugins.{name} "$@"')


def _install_official(name: str) -> None:
    got = plugin_path(name).with_name(GOT)
    if got.exists() and plugin_path(name).exists():
        return
    with timed(STEP, f"downloading Pulumi's own {name} plugin {PLUGINS[name]}"):
        run(
            STEP,
            # Not through the wrapper: its Python may not be installed yet.
            [CLI / "pulumi", "plugin", "install", "resource", name, PLUGINS[name], "--reinstall"],
            environment={"PULUMI_HOME": str(PULUMI_HOME), "PULUMI_SKIP_UPDATE_CHECK": "true"},
            fix="To use the plugins of this project: ZHUB_TOOLCHAIN=portable make up",
        )
    got.touch()
