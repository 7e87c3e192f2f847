"""A stack made from the production example: its file and its public certificates are committed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pki import Identity
from tests.toolchain.conftest import Site, make_site
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

#: What the example names, and how its comments say to add the secrets.
STEPS = """
eval "$(make -s env STACK=site)"
pulumi stack init site
pulumi config set --secret tlsKey < hub.example.com.key
pulumi config set --secret ldapBindPassword < password
"""


def commit(folder: Path, *names: str) -> list[str]:
    """Return those of the names that `git add` takes."""
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--", *names], cwd=folder, capture_output=True, text=True, check=True
    )
    shutil.rmtree(folder / ".git")
    return listed.stdout.split()


def test_a_clean_clone_of_what_is_committed_previews(site: Site, tmp_path: Path) -> None:
    authority = Identity.create("Example CA", authority=True)
    hub = Identity.create("hub.example.com", "*.hub.example.com", issuer=authority)
    authority.write(tmp_path, "site-ca")
    hub.write(tmp_path, "hub.example.com")
    (tmp_path / "password").write_text("of the service account")
    public, secret = ["hub.example.com.crt", "site-ca.pem"], ["hub.example.com.key"]
    (tmp_path / "site-ca.crt").rename(tmp_path / "site-ca.pem")
    try:
        for name in (*public, *secret, "password"):
            shutil.copy(tmp_path / name, site.root / name)
        shutil.copy(site.root / "Pulumi.production.example.yaml", site.root / "Pulumi.site.yaml")
        site.shell(STEPS)
        (site.root / "password").unlink()
        stack_file = "Pulumi.site.yaml"
        assert commit(site.root, stack_file, *public, *secret) == sorted([stack_file, *public])

        clean = make_site(tmp_path / "clean")
        for name in (stack_file, *public):
            shutil.copy(site.root / name, clean.root / name)
        passphrase = {"PULUMI_CONFIG_PASSPHRASE": site.own("site")}
        assert "to create" in clean.shell("make preview STACK=site", passphrase)
    finally:
        for name in (*public, *secret, "password"):
            (site.root / name).unlink(missing_ok=True)


def test_no_key_is_ever_added(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    keys = [
        "hub.key",
        "key.pem",
        "hub-key.pem",
        "engine-certificates/key.pem",
        "hub.p12",
        "hub.pfx",
    ]
    for name in keys:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "site-ca.pem").touch()
    assert commit(tmp_path, *keys, "site-ca.pem") == ["site-ca.pem"]
