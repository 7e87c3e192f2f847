"""The page on the hub by hand has every variable that the hub reads."""

from __future__ import annotations

import re

from toolchain.places import ROOT

READ = re.compile(r"""value\(\s*"([A-Z_]+)",""")

#: Settings of the guard, which a hub by hand has not.
GUARDS = {
    *("FILTER_IMAGE", "DIRECTORY_NETWORK", "USER_BLOCKED_NETWORKS", "SHARED_ROOT"),
    *("HOMES_PATH", "FORMER_HOMES_PATHS", "USERS_MEMORY", "SWARM", "SWARM_NODES"),
    *("SWARM_ENCRYPTION", "HOMES_DRIVER", "HOMES_OPTIONS"),
}

#: Passed as arguments.
ARGUMENTS = {"PORT", "LDAP_SERVERS"}


def test_the_page_has_every_variable() -> None:
    files = (ROOT / "images/hub/zhub/settings").glob("*.py")
    read = {name for file in files for name in READ.findall(file.read_text())}
    assert read > GUARDS | ARGUMENTS
    page = (ROOT / "docs" / "by-hand.md").read_text()
    assert set(re.findall(r"`ZHUB_([A-Z_]+)`", page)) == read - GUARDS - ARGUMENTS
