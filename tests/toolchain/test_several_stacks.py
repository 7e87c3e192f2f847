"""Several stacks in one clone: each one has its own passphrase."""

from __future__ import annotations

import stat

import pytest

from tests.toolchain.conftest import Site
from toolchain.passphrase import PUBLIC

pytestmark = pytest.mark.slow

#: A stack whose preview needs no engine.
SETTINGS = "config:\n  docker:host: ssh://ops@z.example.com\n  zhub:demoDirectory: true\n"

KEEP = "keep a copy of that file elsewhere"


def secret(stack: str) -> str:
    """Commands that set a secret of a stack and read it again."""
    return (
        f"pulumi config set --secret ldapBindPassword of-{stack} --stack {stack}\n"
        f"pulumi config get ldapBindPassword --stack {stack}\n"
    )


def assert_own(site: Site, stack: str) -> None:
    assert site.opens(stack, site.own(stack))
    assert not site.opens(stack, PUBLIC)
    assert f"of-{stack}" in site.shell(secret(stack))


def test_a_preview_of_one_stack_then_of_the_other(site: Site) -> None:
    for name in ("one", "two"):
        (site.root / f"Pulumi.{name}.yaml").write_text(SETTINGS)
    for name in ("one", "two", "one"):
        shown = site.shell(f"make preview STACK={name}")
        assert "to create" in shown
    for name in ("one", "two"):
        assert_own(site, name)
    assert site.own("one") != site.own("two")


LINES = [
    "pulumi stack init site",
    "pulumi stack new site",
    "pulumi stack create --no-select site",
    "pulumi stack init --stack site",
    "pulumi stack init -s site",
    "pulumi stack init -ssite",
    "pulumi stack init --stack=site",
    "pulumi stack init organization/zhub/site",
    "pulumi stack init --secrets-provider passphrase site",
    "pulumi stack select --create site",
    "pulumi stack select -c site",
    "pulumi stack select -cs site",
    "pulumi -C . stack init site",
    "PULUMI_OPTION_STACK=site pulumi stack init",
    "cd /; PULUMI_OPTION_CWD=$OLDPWD PULUMI_OPTION_STACK=site pulumi stack init",
    "cd docs; pulumi stack init site",
    'eval "$(make -s env STACK=site)"; pulumi stack init site',
]


@pytest.mark.parametrize(
    ("before", "line"),
    [*(("dev", line) for line in LINES), ("nothing", LINES[0]), ("other", LINES[0])],
)
def test_a_new_stack_gets_its_own_passphrase_however_it_is_created(
    site: Site, before: str, line: str
) -> None:
    if before != "nothing":
        # Selected, and set in the shell as an earlier release did.
        site.shell(f"pulumi stack select --create {before}")
    stale = {"dev": PUBLIC, "other": None, "nothing": None}[before]
    more = {"PULUMI_CONFIG_PASSPHRASE": stale} if stale else {}
    shown = site.shell(line, more)
    assert KEEP in shown
    assert site.own("site") not in shown
    file = site.root / ".state" / "passphrase-site"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert_own(site, "site")


@pytest.mark.parametrize(
    "name", ["PULUMI_STACK", "PULUMI_OPTION_STACK", "-s", "--stack=", "selected"]
)
def test_settings_of_one_stack_while_another_is_selected(site: Site, name: str) -> None:
    site.shell("pulumi stack init site; pulumi stack init other; pulumi stack select --create dev")
    option = {"-s": "-s site", "--stack=": "--stack=site"}.get(name, "")
    more = {name: "site"} if name.startswith("PULUMI_") else {}
    if name == "selected":
        site.shell("pulumi stack select site")
    key = f"ldapBindPassword {option}"
    lines = f"echo x | pulumi config set --secret {key}; pulumi config get {key}"
    assert site.shell(lines, more).splitlines()[-1] == "x"
    assert "secure:" in (site.root / "Pulumi.site.yaml").read_text()
    assert "secure:" not in (site.root / "Pulumi.other.yaml").read_text()


def test_a_shell_set_by_make_env_keeps_its_stack(site: Site) -> None:
    site.shell("pulumi stack init site; pulumi stack select --create dev")
    shown = site.shell(
        'eval "$(make -s env STACK=site)"; pulumi stack select dev; pulumi stack --show-name'
    )
    assert "this shell still uses stack site (PULUMI_STACK)" in shown
    assert 'eval "$(make -s env STACK=dev)"' in shown
    assert shown.splitlines()[-1] == "site"


def test_a_renamed_stack_keeps_its_passphrase(site: Site) -> None:
    site.shell(f"pulumi stack init site; {secret('site')} pulumi stack rename -s site moved")
    shown = site.shell("pulumi config get ldapBindPassword --stack moved")
    assert "stack site is now moved" in shown
    assert shown.splitlines()[-1] == "of-site"
    assert site.shell("pulumi config get ldapBindPassword -s moved") == "of-site\n"


def test_two_stacks_in_one_command_are_refused(site: Site) -> None:
    site.shell("pulumi stack init site; pulumi stack init other; pulumi stack select -c dev")
    for line in (
        "pulumi config cp --dest site",
        "pulumi config cp -s site -d other",
        "pulumi stack init third --copy-config-from dev",
        "pulumi stack init third --copy-config-from site",
    ):
        shown = site.shell(line, fails=True)
        assert "needs the passphrases of" in shown
    assert not (site.root / "Pulumi.third.yaml").exists()
    assert not (site.root / ".state" / "passphrase-third").exists()


def test_a_passphrase_in_the_shell_is_used_for_every_stack(site: Site) -> None:
    site.shell("pulumi stack init site", {"PULUMI_CONFIG_PASSPHRASE": "its own"})
    assert site.opens("site", "its own")
    file = site.root.parent / "kept-elsewhere"
    file.write_text("in a file\n")
    site.shell("pulumi stack init other", {"PULUMI_CONFIG_PASSPHRASE_FILE": str(file)})
    assert site.opens("other", "in a file")
    assert list((site.root / ".state").glob("passphrase-*")) == []


def encrypt_wrongly(site: Site, text: str) -> None:
    """Encrypt the stack `site` as an earlier release did when another stack was selected."""
    site.shell("pulumi stack init site")
    site.shell(
        "sed -i /encryptionsalt/d Pulumi.site.yaml\n"
        "export PULUMI_HOME=$PWD/.toolchain/home PULUMI_BACKEND_URL=file://$PWD/.state\n"
        ".toolchain/cli/pulumi config set --secret ldapBindPassword kept --stack site",
        {"PULUMI_CONFIG_PASSPHRASE": text},
    )
    assert site.opens("site", text)


def test_a_stack_with_the_public_passphrase_is_refused_with_the_fix(site: Site) -> None:
    encrypt_wrongly(site, PUBLIC)
    for line in ("make preview STACK=site", "pulumi config --stack site", "make up STACK=site"):
        shown = site.shell(line, fails=True)
        assert "the demo's passphrase, which is public" in shown
        assert "incorrect passphrase" not in shown
    [way] = [line for line in shown.splitlines() if "change-secrets-provider" in line]
    site.shell(way)
    assert site.opens("site", site.own("site"))
    assert site.shell("pulumi config get ldapBindPassword -s site") == "kept\n"


def test_no_stack_is_encrypted_with_an_empty_passphrase(site: Site) -> None:
    """As where a pipeline's secret is missing: the variable is set, and empty."""
    empty = site.root.parent / "empty"
    empty.write_text("\n")
    (site.root / "Pulumi.site.yaml").write_text(SETTINGS)
    for variables in (
        {"PULUMI_CONFIG_PASSPHRASE": ""},
        {"PULUMI_CONFIG_PASSPHRASE": "", "PULUMI_CONFIG_PASSPHRASE_FILE": str(empty)},
        {"PULUMI_CONFIG_PASSPHRASE_FILE": str(empty)},
    ):
        for line in ("make preview STACK=site", "pulumi stack init site"):
            shown = site.shell(line, variables, fails=True)
            assert f"{next(iter(variables))} has an empty passphrase" in shown
    assert site.salt("site") == ""
    site.shell("pulumi stack init site")
    for line in ("pulumi config --stack site", "make up STACK=site"):
        shown = site.shell(line, {"PULUMI_CONFIG_PASSPHRASE": ""}, fails=True)
        assert "PULUMI_CONFIG_PASSPHRASE has an empty passphrase" in shown


def test_a_key_service_needs_no_passphrase_in_the_shell(site: Site) -> None:
    (site.root / "Pulumi.site.yaml").write_text("secretsprovider: hashivault://zhub\n")
    shown = site.shell("pulumi stack init site || true", {"PULUMI_CONFIG_PASSPHRASE": ""})
    assert "empty passphrase" not in shown


def test_a_stack_with_an_empty_passphrase_is_refused_with_the_fix(site: Site) -> None:
    encrypt_wrongly(site, "")
    for variables in ({}, {"PULUMI_CONFIG_PASSPHRASE": ""}):
        shown = site.shell("make preview STACK=site", variables, fails=True)
        assert "are encrypted with an empty passphrase" in shown
        [way] = [line for line in shown.splitlines() if "change-secrets-provider" in line]
    site.shell(way, {"PULUMI_CONFIG_PASSPHRASE": ""})
    assert site.opens("site", site.own("site"))
    assert site.shell("pulumi config get ldapBindPassword -s site") == "kept\n"


def test_an_empty_file_is_no_passphrase(site: Site) -> None:
    """A command that was killed left one."""
    file = site.root / ".state/passphrase-site"
    file.touch(0o600)
    shown = site.shell("pulumi stack init site", fails=True)
    assert "passphrase-site is empty" in shown
    assert site.salt("site") == ""
    file.unlink()
    assert KEEP in site.shell("pulumi stack init site")
    assert_own(site, "site")


def test_what_is_remembered_of_a_passphrase_does_not_help_to_guess_it(site: Site) -> None:
    known = site.root / ".state/opens-site"
    known.touch(0o644)
    site.shell(f"pulumi stack init site; {secret('site')}")
    assert stat.S_IMODE(known.stat().st_mode) == 0o600
    file = site.root / ".state/passphrase-site"
    found = file.stat()
    assert known.read_text() == (
        f"{site.salt('site')} {file.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    )
    file.write_text("of another stack")
    assert "does not decrypt" in site.shell("pulumi config -s site", fails=True)


def test_a_stack_with_the_public_passphrase_can_be_removed(site: Site) -> None:
    encrypt_wrongly(site, PUBLIC)
    site.shell("pulumi stack rm --yes site")
    assert KEEP not in site.shell("pulumi stack init site")
    assert_own(site, "site")


def test_a_stack_with_another_stacks_passphrase_works_and_the_fix_is_shown(site: Site) -> None:
    site.shell("pulumi stack init other")
    encrypt_wrongly(site, site.own("other"))
    shown = site.shell("pulumi config get ldapBindPassword -s site")
    assert shown.splitlines()[-1] == "kept"
    assert "are encrypted with the passphrase of other" in shown
    site.shell(
        "pulumi stack change-secrets-provider passphrase --stack site < .state/passphrase-site"
    )
    assert site.shell("pulumi config get ldapBindPassword -s site") == "kept\n"
    assert not site.opens("site", site.own("other"))
