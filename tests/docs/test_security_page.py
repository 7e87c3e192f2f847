"""The security page lists all attack tests and all socket families of the suite."""

from __future__ import annotations

import ast
import re

from toolchain.places import ROOT

ATTACKS = ROOT / "tests" / "engine" / "attacks"
PAGE = ROOT / "docs" / "security.md"
FAMILY = re.compile(r'"([A-Z0-9_]+)": \(')
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def test_every_attack_is_in_the_table_with_its_test() -> None:
    written = {
        (path.name, node.name)
        for path in ATTACKS.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert len(written) > 20
    assert set(NAMED.findall(PAGE.read_text())) == written


#: Kernel modules whose name differs from their family's.
MODULES = {
    "KEY": "af_key",
    "LLC": "llc2",
    "IUCV": "af_iucv",
    "IEEE802154": "ieee802154_socket",
    "CAIF": "caif_socket",
    "ALG": "af_alg",
    "QIPCRTR": "qrtr",
}
#: Families that are no module, open nothing by themselves, or need a right that no server has.
NO_MODULE = {"IB", "MCTP", "MPLS", "PACKET", "XDP"}


def test_every_familys_module_is_to_be_kept_out_on_z() -> None:
    code = (ATTACKS / "test_families.py").read_text()
    families = {name for name in FAMILY.findall(code) if not name.startswith("NETLINK_")}
    assert families > NO_MODULE | set(MODULES)
    wanted = sorted(MODULES.get(name, name.lower()) for name in families - NO_MODULE)
    [listed] = re.findall(r"'install %s /bin/false\\n' ([^>]*)>", PAGE.read_text())
    assert listed.replace("\\\n", " ").split() == wanted
