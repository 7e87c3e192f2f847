"""How many servers there are, of how many, for the administrators' page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyterhub.app import JupyterHub
from jupyterhub.user import User


def shown(most: int) -> Callable[[Any], str]:
    """Return what gives the line to a page.

    Args:
        most: how many servers may run.
    """

    def line(user: Any) -> str:
        """Return the line for an administrator to whom a page is shown; nobody else has one."""
        if not isinstance(user, User) or not user.admin:
            return ""
        counts = JupyterHub.instance().users.count_active_users()
        return f"{counts['active']} of {most} servers run or start."

    return line
