"""Which stack a `pulumi` command means, from its arguments.

The CLI takes a stack's name as an option (`-s NAME`, `-sNAME`, `--stack NAME`, `--stack=NAME`) or
as a positional argument (`stack init NAME`). Every option may be a variable instead, such as
`PULUMI_OPTION_STACK=NAME`. The tables describe the CLI version in toolchain/pins.py;
tests/toolchain/test_arguments.py compares them with that CLI's own help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: What the names of variables begin with that stand for options.
OPTION = "PULUMI_OPTION_"

#: Values of a switch that is off (Go's strconv.ParseBool), in small letters.
OFF = ("0", "f", "false")

#: Commands' aliases.
ALIASES = {
    "cp": "copy",
    "create": "new",
    "delete": "remove",
    "dn": "destroy",
    "down": "destroy",
    "init": "new",
    "ls": "list",
    "mv": "move",
    "pre": "preview",
    "rm": "remove",
    "setup": "new",
    "update": "up",
}

#: Commands with subcommands.
GROUPS = ("config", "stack", "state")

#: Commands that take a stack's name as a positional argument, and its index.
BY_WORD: dict[tuple[str, ...], int] = {
    ("cancel",): 0,
    ("stack", "migrate"): 1,
    ("stack", "new"): 0,
    ("stack", "remove"): 0,
    ("stack", "select"): 0,
}

#: Options that name a second stack, by command. Both stacks have secrets, but Pulumi takes only one
#: passphrase.
SECOND: dict[tuple[str, ...], tuple[str, ...]] = {
    ("config", "copy"): ("dest",),
    ("stack", "migrate"): ("target",),
    ("stack", "new"): ("copy-config-from",),
    ("state", "move"): ("source", "dest"),
}

#: Commands that neither read nor write secrets of the stack they name.
WITHOUT_SECRETS = (
    *(("stack", verb) for verb in ("list", "remove", "rename", "select", "tag", "unselect")),
    *(("stack", verb) for verb in ("drift", "get", "schedule", "webhook")),
)

#: Commands that read or write a stack's secrets.
WITH_SECRETS = (*GROUPS, "destroy", "import", "preview", "refresh", "up", "watch")

# fmt: off
#: Options whose value may be the next argument.
WITH_VALUE = frozenset((
    "client", "coherence-window", "color", "config", "config-file", "copy-config-from", "cwd",
    "dependency-edge-color", "dest", "dot-fragment", "exclude", "exec-agent", "exec-kind", "file",
    "from", "generate-resources", "import-file", "import-pending-creates", "memprofilerate",
    "message", "organization", "otel-traces", "out", "output", "override-env", "page", "page-size",
    "parallel", "parent", "parent-edge-color", "plan", "policy-pack", "policy-pack-config",
    "profiling", "project", "properties", "provider", "replace", "save-plan", "secrets-provider",
    "source", "stack", "tag", "target", "target-replace", "teams", "tracing", "tracing-header",
    "type", "verbose", "version",
))
# fmt: on

#: Options that take a value in these commands only.
WITH_VALUE_IN: dict[tuple[str, ...], tuple[str, ...]] = {
    ("config", "set-all"): ("json", "plaintext", "secret"),
    ("watch",): ("path",),
}

#: One-letter options that take a value, with their long names.
LETTERS = {"C": "cwd", "m": "message", "p": "parallel", "s": "stack", "t": "target", "v": "verbose"}

#: One-letter options that mean something else in other commands.
LETTERS_IN: dict[tuple[str, ...], dict[str, str]] = {
    ("config", "copy"): {"d": "dest"},
    ("destroy",): {"c": "config", "x": "exclude"},
    ("preview",): {"c": "config", "x": "exclude"},
    ("refresh",): {"c": "config", "x": "exclude"},
    ("stack", "export"): {"f": "file"},
    ("up",): {"c": "config"},
    ("watch",): {"c": "config"},
}


@dataclass(frozen=True)
class Command:
    """A parsed `pulumi` command."""

    verb: tuple[str, ...]
    """Command and subcommand, with aliases resolved: `stack init` is ("stack", "new")."""
    words: tuple[str, ...]
    """The positional arguments."""
    options: dict[str, str] = field(default_factory=dict)
    """Values of the options, by long name; empty for an option that takes none, mostly."""

    @property
    def stack(self) -> str:
        """The stack that the command names; empty if none."""
        place = BY_WORD.get(self.verb)
        words = self.words[place : place + 1] if place is not None else ()
        return self.options.get("stack") or "".join(words)

    @property
    def second(self) -> list[str]:
        """Other stacks whose secrets the command handles."""
        named = (self.options.get(option, "") for option in SECOND.get(self.verb, ()))
        return [name for name in named if name]

    @property
    def creates(self) -> bool:
        """Whether the command creates the stack it names."""
        wanted = self.options.get("create", "false").lower() not in OFF
        return self.verb == ("stack", "new") or (self.verb == ("stack", "select") and wanted)

    @property
    def needs_secrets(self) -> bool:
        """Whether the command reads or writes secrets of the stack."""
        if self.creates:
            return True
        return self.verb[:1] in {(verb,) for verb in WITH_SECRETS} and (
            self.verb not in WITHOUT_SECRETS
        )


def _short(argument: str, verb: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """Options in an argument such as `-ysNAME`, and the one whose value is the next argument."""
    found: dict[str, str] = {}
    known = LETTERS | LETTERS_IN.get(verb, {})
    for place, letter in enumerate(argument[1:], start=2):
        if name := known.get(letter):
            value = argument[place:].removeprefix("=")
            return found | {name: value}, "" if value else name
        found["create" if letter == "c" else letter] = ""
    return found, ""


def _takes_value(name: str, verb: tuple[str, ...]) -> bool:
    return name in WITH_VALUE or name in WITH_VALUE_IN.get(verb, ())


def _of_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Options that are not on the command line; the CLI takes an empty variable for none."""
    return {
        name.removeprefix(OPTION).lower().replace("_", "-"): value
        for name, value in environment.items()
        if name.startswith(OPTION) and value
    }


def parse(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Command:
    """Parse a command as the CLI does.

    Args:
        arguments: those after `pulumi`.
        environment: its variables.
    """
    verb: tuple[str, ...] = ()
    words: list[str] = []
    options = _of_variables(environment or {})
    wanting = ""
    rest = iter(arguments)
    for argument in rest:
        if wanting:
            options[wanting], wanting = argument, ""
        elif argument == "--":
            words += rest
        elif argument.startswith("--"):
            name, given, value = argument[2:].partition("=")
            options[name] = value
            wanting = "" if given or not _takes_value(name, verb) else name
        elif argument.startswith("-") and argument != "-":
            found, wanting = _short(argument, verb)
            options |= found
        elif not verb or (len(verb) == 1 and verb[0] in GROUPS and not words):
            verb = (*verb, ALIASES.get(argument, argument))
        else:
            words.append(argument)
    return Command(verb, tuple(words), options)
