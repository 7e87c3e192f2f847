"""No cookie is in the log of a user's server: JupyterHub writes the browser's session there."""

from __future__ import annotations

import logging

LOGGER = "tornado.application"
"""Where JupyterHub logs it."""

LINES = ("Setting new xsrf cookie", "xsrf id mismatch")
"""How messages begin whose arguments are made of cookies (jupyterhub/_xsrf_utils.py)."""


class WithoutCookies(logging.Filter):
    """Leaves such arguments out."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and log it."""
        if str(record.msg).startswith(LINES):
            record.args = tuple("[secret]" for _ in record.args or ())
        return True


def install() -> None:
    """Leave them out from now on."""
    logging.getLogger(LOGGER).addFilter(WithoutCookies())
