"""The site's own configuration of JupyterHub, which is read last and may change everything."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Any

FAILED = 2
"""Exit code of a hub that cannot start with its settings."""

log = logging.getLogger("zhub")


def read(file: Path, config: Any) -> None:
    """Run the file, which finds JupyterHub's configuration as `c` or by `get_config()`.

    A file that fails ends the hub, with one message instead of a traceback: without what the file
    says, the hub might let people do what they must not. Values that JupyterHub does not take are
    its own to refuse, later, in one message as well.

    Args:
        file: Python.
        config: of JupyterHub, with all that the hub sets.
    """
    own = _named(config)
    names = {
        "c": config,
        "get_config": lambda: config,
        "__file__": str(file),
        "__name__": "hub_config",
    }
    try:
        exec(compile(file.read_text(), str(file), "exec", dont_inherit=True), names)  # noqa: S102 - that is what it is for
    except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may happen in it
        steps = traceback.extract_tb(error.__traceback__)
        lines = [step.lineno for step in steps if step.filename == str(file)]
        if isinstance(error, SyntaxError) and error.filename == str(file):
            lines = [error.lineno]
        where = f"line {lines[-1]}: " if lines else ""
        what = " ".join(f"{type(error).__name__}: {error}".split())
        log.critical(
            "hubConfigFile: %s%s. Correct the file and run pulumi up; without it: pulumi config rm"
            " hubConfigFile",
            where,
            what,
        )
        sys.exit(FAILED)
    if lost := sorted(own - _named(config)):
        log.warning(
            "hubConfigFile takes away %s of the hub's own: servers of users who have left run on,"
            " or make users or the metrics do not work. Append to c.JupyterHub.services and"
            " c.JupyterHub.load_roles, and do not set them",
            ", ".join(lost),
        )


def _named(config: Any) -> set[str]:
    """Return the services and roles in a configuration, as messages name them."""
    found = config.JupyterHub
    lists = {"service": found.get("services"), "role": found.get("load_roles")}
    return {
        f"the {kind} {one['name']}"
        for kind, listed in lists.items()
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and "name" in one
    }
