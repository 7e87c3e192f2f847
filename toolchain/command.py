"""What `.toolchain/bin/pulumi` runs: the CLI, with the passphrase of the stack that is meant.

Pulumi would ask for it, and on a machine without a terminal it would fail. With the passphrase of
another stack it would even encrypt with that.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from toolchain import arguments as command_line
from toolchain import passphrase, runs, stack
from toolchain.arguments import Command
from toolchain.console import Problem, fail, say
from toolchain.places import CLI, PULUMI_HOME, ROOT, STATE
from toolchain.plugins import CREDENTIALS
from toolchain.runs import PROJECT

#: Commands that lock the stack they are about, for minutes.
LOCKING = {(verb,) for verb in ("destroy", "import", "refresh", "up", "watch")}

CHANGE = ("stack", "change-secrets-provider")


def is_here(folder: Path) -> bool:
    """Whether the project that Pulumi would find from this folder is this clone's."""
    for parent in (folder, *folder.parents):
        if (parent / "Pulumi.yaml").exists():
            return parent == ROOT
    return False


def backend() -> str | None:
    """The address of the state backend in use."""
    if (address := os.environ.get("PULUMI_BACKEND_URL")) or not CREDENTIALS.exists():
        return address
    current: str | None = json.loads(CREDENTIALS.read_text()).get("current")
    return current


def selected() -> str:
    """The stack that `pulumi stack select` chose in this clone, for the backend in use."""
    project = hashlib.sha1(bytes(ROOT / "Pulumi.yaml"), usedforsecurity=False).hexdigest()
    file = PULUMI_HOME / "workspaces" / f"{PROJECT}-{project}-workspace.json"
    if not file.exists():
        return ""
    chosen = json.loads(file.read_text()).get("stacks", {})
    return chosen.get(backend()) or ""


def short(stack: str) -> str:
    """A stack's own name: it may have organization and project in front."""
    return stack.rpartition("/")[2]


def meant(command: Command) -> str:
    """The stack that a command is about; empty where there is none yet."""
    # An empty PULUMI_STACK counts too, for Pulumi: no stack is selected.
    return short(command.stack or os.environ.get("PULUMI_STACK", selected()))


def encrypts_elsewhere(command: Command) -> bool:
    """Whether a key service or Pulumi Cloud encrypts the secrets of a new stack."""
    provider = command.options.get("secrets-provider") or "default"
    cloud = (backend() or "").startswith(("https://", "http://"))
    return cloud if provider == "default" else provider != "passphrase"


def _refuse_if_made_elsewhere(name: str) -> None:
    """Make no passphrase for a stack that the state backend has, whose salt is not here.

    Raises:
        Problem: it has it, or it does not answer.
    """
    command = [str(CLI / "pulumi"), "stack", "ls", "--json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise Problem(f"the state backend does not say which stacks it has:\n{listed.stderr}")
    if name in {short(stack["name"]) for stack in json.loads(listed.stdout)}:
        file = passphrase.stack_file(name).name
        raise Problem(
            f"stack {name} has been made already, elsewhere: it is in {backend()}, and here is "
            f"{'no' if not (ROOT / file).exists() else 'no encryptionsalt in'} {file}.\nAsk "
            f"who made it for that file and for the passphrase, which belongs into "
            f"{passphrase.place(name)} or into the file that {passphrase.FILE} names."
        )


def _of(command: Command, name: str) -> passphrase.Variables:
    """The passphrase variables for a command about a stack."""
    if command.verb == CHANGE:
        return passphrase.to_change(name)
    if not command.needs_secrets:
        return passphrase.unchecked(name)
    given = command.options.get("config-file")
    file = Path(given) if given else passphrase.stack_file(name)
    for other in map(short, command.second):
        if passphrase.variables(other) != passphrase.variables(name, file):
            raise Problem(
                f"`pulumi {' '.join(command.verb)}` would need the passphrases of {name} and of "
                f"{other}, and Pulumi takes one. Copy the settings from file to file, "
                f"Pulumi.{name}.yaml and Pulumi.{other}.yaml, without encryptionsalt and without "
                "what is under `secure:`; then set the secrets: "
                f"pulumi config set --secret --stack STACK KEY"
            )
    new = command.creates and not encrypts_elsewhere(command)
    own = passphrase.place(name).exists() or passphrase.entry(file, "encryptionsalt")
    if new and name != passphrase.DEV and not own and not passphrase.of_the_shell(name):
        _refuse_if_made_elsewhere(name)
    return passphrase.variables(name, file, new=new)


def _tell_of_the_shells_stack(command: Command, name: str) -> None:
    """Say that a selection means nothing to a shell that `make env` has set to another stack."""
    shells = os.environ.get("PULUMI_STACK")
    selects = command.verb == ("stack", "select") or (
        command.verb == ("stack", "new") and "no-select" not in command.options
    )
    if selects and name and shells and short(shells) != name:
        say("pulumi", f"this shell stays with stack {shells} (PULUMI_STACK). For {name}:")
        say("pulumi", f'eval "$(make -s env STACK={name})"')


def _warn_of_lonely_state(command: Command, name: str) -> None:
    """Say that nobody else could go on with a stack on another machine's engine."""
    here = backend() in (None, STATE.as_uri())
    if here and command.verb in {("preview",), ("up",)} and stack.remote(name):
        say(
            "pulumi",
            f"warning: what {stack.engine_address(name)} runs is known to this clone only:",
        )
        say(
            "pulumi",
            f"the state of stack {name} is in {STATE}. A colleague's `up` would begin anew.",
        )
        say("pulumi", "To share it, or to keep a copy: docs/more-than-one.md")


def environment(arguments: Sequence[str]) -> dict[str, str]:
    """The environment of a command, with the passphrase of the stack it means, where known.

    Raises:
        Problem: there is a passphrase for it that is not here, or that should not be.
    """
    variables: dict[str, str | None] = dict(os.environ)
    command = command_line.parse(arguments)
    if is_here(Path(command.options.get("cwd", ".")).resolve()):
        name = meant(command)
        if name:
            _tell_of_the_shells_stack(command, name)
            variables |= _of(command, name)
            _warn_of_lonely_state(command, name)
            if command.verb in LOCKING:
                runs.write_down(name)
        elif not passphrase.of_the_shell(name):
            # Pulumi will ask which stack is meant. Whichever, it is none that the shell was set to.
            variables |= {passphrase.TEXT: None, passphrase.FILE: None}
    return {name: value for name, value in variables.items() if value is not None}


def main() -> None:
    """Entry point: becomes the CLI."""
    arguments = sys.argv[1:]
    try:
        variables = environment(arguments)
    except Problem as problem:
        sys.exit(fail(problem))
    os.execve(CLI / "pulumi", ["pulumi", *arguments], variables)  # noqa: S606


if __name__ == "__main__":
    main()
