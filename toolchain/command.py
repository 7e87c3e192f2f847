"""What `.toolchain/bin/pulumi` runs: the CLI, with the passphrase of the stack it is about.

Without a passphrase, Pulumi would ask for one, and fail where there is no terminal. With the
passphrase of another stack, it would encrypt secrets with the wrong one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolchain import arguments as command_line
from toolchain import deployed, passphrase, runs, stack
from toolchain.arguments import Command
from toolchain.console import Problem, fail, say
from toolchain.places import CLI, PULUMI_HOME, ROOT, STATE
from toolchain.plugins import CREDENTIALS
from toolchain.runs import PROJECT

#: Commands that lock their stack, for minutes.
LOCKING = {(verb,) for verb in ("destroy", "import", "refresh", "up", "watch")}

#: Commands that take out of the state what the engine does not have, without running the program.
FORGETTING = {("destroy",), ("refresh",)}

CHANGE = ("stack", "change-secrets-provider")


def is_here(folder: Path) -> bool:
    """Whether Pulumi, run in this folder, would use this clone's project."""
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
    """A stack's name without organization and project."""
    return stack.rpartition("/")[2]


def meant(command: Command) -> str:
    """The stack that a command is about; empty if none is selected."""
    # Pulumi takes an empty PULUMI_STACK for "no stack selected".
    return short(command.stack or os.environ.get("PULUMI_STACK", selected()))


def encrypts_elsewhere(command: Command) -> bool:
    """Whether a key service or Pulumi Cloud encrypts a new stack's secrets."""
    provider = command.options.get("secrets-provider") or "default"
    cloud = (backend() or "").startswith(("https://", "http://"))
    return cloud if provider == "default" else provider != "passphrase"


def _refuse_if_made_elsewhere(name: str) -> None:
    """Refuse to make a second passphrase for a stack that exists but has no salt here.

    Raises:
        Problem: the state backend has the stack, or does not answer.
    """
    command = [str(CLI / "pulumi"), "stack", "ls", "--json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise Problem(
            f"`pulumi stack ls` failed at the state backend {backend()}:\n{listed.stderr}"
        )
    if name in {short(stack["name"]) for stack in json.loads(listed.stdout)}:
        file = passphrase.stack_file(name).name
        raise Problem(
            f"stack {name} already exists in {backend()}, but this clone has "
            f"{'no' if not (ROOT / file).exists() else 'no encryptionsalt in'} {file}.\nAsk "
            "whoever made the stack for that file and for the passphrase. Put the passphrase into "
            f"{passphrase.place(name)}, or name a file that has it: "
            f"export {passphrase.FILE}=/path/of/file"
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
                f"`pulumi {' '.join(command.verb)}` needs the passphrases of {name} and {other}, "
                f"but Pulumi takes only one. Copy the settings between Pulumi.{name}.yaml and "
                f"Pulumi.{other}.yaml by hand, without encryptionsalt and `secure:` values; then "
                "set the secrets: pulumi config set --secret --stack STACK KEY"
            )
    new = command.creates and not encrypts_elsewhere(command)
    own = passphrase.place(name).exists() or passphrase.entry(file, "encryptionsalt")
    if new and name != passphrase.DEV and not own and not passphrase.of_the_shell(name):
        _refuse_if_made_elsewhere(name)
    return passphrase.variables(name, file, new=new)


def _warn_of_the_shells_stack(command: Command, name: str) -> None:
    """Say that a selection has no effect in a shell that `make env` set to another stack."""
    shells = os.environ.get("PULUMI_STACK")
    selects = command.verb == ("stack", "select") or (
        command.verb == ("stack", "new") and "no-select" not in command.options
    )
    if selects and name and shells and short(shells) != name:
        say("pulumi", f"this shell still uses stack {shells} (PULUMI_STACK). To use {name}:")
        say("pulumi", f'eval "$(make -s env STACK={name})"')


def _warn_of_lonely_state(command: Command, name: str) -> None:
    """Warn that only this clone can change a stack on a remote engine."""
    here = backend() in (None, STATE.as_uri())
    if here and command.verb in {("preview",), ("up",)} and stack.remote(name):
        say(
            "pulumi",
            f"warning: the state of stack {name}, which runs on {stack.engine_address(name)},",
        )
        say(
            "pulumi",
            f"is only in this clone: {STATE}. A colleague's `up` would start from nothing.",
        )
        say("pulumi", "To share or back up the state: docs/more-than-one.md")


def _refuse_elsewhere(command: Command, name: str, variables: Mapping[str, str]) -> None:
    """Refuse what would have the engine on this machine asked for what is on another machine's.

    Raises:
        Problem: the stack is on another machine's engine.
    """
    given = command.options.keys()
    # An `up` runs the program, which checks it, in its preview: before it refreshes anything.
    blind = {"refresh", "r"} & given and {"skip-preview", "f"} & given
    if command.verb not in FORGETTING and not (command.verb == ("up",) and blind):
        return
    export = [str(CLI / "pulumi"), "stack", "export", "--stack", command.stack or name]
    state = subprocess.run(
        export, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    # Of a stack that does not exist, Pulumi itself will say so.
    if state.returncode == 0:
        deployed.refuse_elsewhere(name, json.loads(state.stdout)["deployment"] or {})


def environment(arguments: Sequence[str]) -> dict[str, str]:
    """The environment for a command, with its stack's passphrase if that is known.

    Raises:
        Problem: the stack's passphrase is missing, or it is the public one; or the command would
            have the wrong machine's engine asked.
    """
    variables: dict[str, str | None] = dict(os.environ)
    command = command_line.parse(arguments, os.environ)
    if is_here(Path(command.options.get("cwd", ".")).resolve()):
        name = meant(command)
        if name:
            _warn_of_the_shells_stack(command, name)
            variables |= _of(command, name)
            _warn_of_lonely_state(command, name)
            _refuse_elsewhere(command, name, _set(variables))
            if command.verb in LOCKING:
                runs.record(name)
        elif not passphrase.of_the_shell(name):
            # Pulumi will ask which stack to use, and the shell's passphrase may be another stack's.
            variables |= {passphrase.TEXT: None, passphrase.FILE: None}
    return _set(variables)


def _set(variables: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value is not None}


def main() -> None:
    """Entry point: becomes the CLI."""
    arguments = sys.argv[1:]
    try:
        variables = environment(arguments)
        os.execve(CLI / "pulumi", ["pulumi", *arguments], variables)  # noqa: S606
    except (Problem, OSError) as problem:
        sys.exit(fail(problem))


if __name__ == "__main__":
    main()
