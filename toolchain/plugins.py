"""What belongs beside the CLI: its wrapper, the language host and the provider plugins."""

from __future__ import annotations

import shlex
from pathlib import Path

from toolchain.console import run, timed
from toolchain.environment import PYTHON
from toolchain.pins import PLUGINS
from toolchain.places import BIN, CLI, PULUMI_HOME, ROOT, STATE

STEP = "plugins"

#: Written by `pulumi login`: the operator keeps the state elsewhere.
CREDENTIALS = PULUMI_HOME / "credentials.json"

SCRIPT = b"#!/bin/sh\n"

#: How much the logs of all Pulumi commands may take.
LOG_MEGABYTES = 50


def _script(path: Path, *lines: str) -> None:
    """Write an executable shell script, unless it is there and the same."""
    text = SCRIPT + "\n".join([*lines, ""]).encode()
    if path.exists() and path.read_bytes() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(text)
    new.chmod(0o755)
    new.replace(path)


def python() -> str:
    """The Python of this clone, as a shell script calls it."""
    # With -P, what lies in the folder of a Pulumi project cannot stand in for our modules.
    return f"{shlex.quote(str(PYTHON))} -P"


def _write_wrapper() -> None:
    """Write the `pulumi` that works with nothing but its folder on PATH."""
    home, credentials = shlex.quote(str(PULUMI_HOME)), shlex.quote(str(CREDENTIALS))
    backend = f"${{PULUMI_BACKEND_URL:-{STATE.as_uri()}}}"
    _script(
        BIN / "pulumi",
        f"export PULUMI_HOME={home}",
        # No route out: asking for news costs seconds. On PATH: whatever version that may be.
        "export PULUMI_SKIP_UPDATE_CHECK=true PULUMI_IGNORE_AMBIENT_PLUGINS=true",
        # It logs every command; its own limit is ten times as much.
        f"export PULUMI_LOG_ROTATION_MAX_TOTAL_MB={LOG_MEGABYTES}",
        # Pulumi's own check stops at the first wrong setting; the program names them all.
        "export PULUMI_OPTION_SKIP_CONFIG_VALIDATION=true",
        f'[ -e {credentials} ] || export PULUMI_BACKEND_URL="{backend}"',
        f'PATH={shlex.quote(str(BIN))}:$PATH exec {python()} -m toolchain.command "$@"',
    )


def plugin_path(name: str) -> Path:
    """Where the engine looks for an installed plugin. Found there, it prints no warning."""
    return PULUMI_HOME / "plugins" / f"resource-{name}-v{PLUGINS[name]}" / f"pulumi-resource-{name}"


def ensure(*, official: bool) -> None:
    """Write the wrapper and, unless the CLI brings its own, the language host and the plugins.

    Raises:
        Problem: Pulumi's own plugins cannot be had.
    """
    STATE.mkdir(mode=0o700, exist_ok=True)
    _write_wrapper()
    if official:
        _install_official()
        return
    host = shlex.quote(str(ROOT / "toolchain" / "language_host.py"))
    _script(CLI / "pulumi-language-python", f'exec {python()} {host} "$@"')
    for name in PLUGINS:
        _script(plugin_path(name), f'exec {python()} -m plugins.{name} "$@"')


def _install_official() -> None:
    for name, version in PLUGINS.items():
        path = plugin_path(name)
        if path.exists() and not path.read_bytes().startswith(SCRIPT):
            continue
        with timed(STEP, f"getting Pulumi's own {name} plugin {version}"):
            run(
                STEP,
                # Not by the wrapper: its Python may be in the making.
                [CLI / "pulumi", "plugin", "install", "resource", name, version, "--reinstall"],
                environment={"PULUMI_HOME": str(PULUMI_HOME), "PULUMI_SKIP_UPDATE_CHECK": "true"},
                mend="To use the plugins of this project: ZHUB_TOOLCHAIN=portable make up",
            )
