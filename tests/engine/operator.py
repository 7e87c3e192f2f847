"""What a page prints, typed by an operator in the checkout of a test's stack."""

from __future__ import annotations

import shlex

from tests.docs.commands import as_typed
from tests.engine.stack import Stack


def typed(stack: Stack, *blocks: str) -> str:
    """Run these commands in one shell, which goes on in the next call; return what they print.

    The shell keeps `old`, the only variable that one block sets for another.
    """
    variables = stack.folder / "variables"
    script = as_typed(list(blocks), stack.name, stack.config_file)
    # Here, all is installed already.
    toolchain = shlex.quote(f"TOOLCHAIN={shlex.join(stack.toolchain)}")
    make = f'make() {{ MAKEFLAGS= command make --no-print-directory {toolchain} "$@"; }}'
    script = f"[ ! -e '{variables}' ] || . '{variables}'\n{make}\n{script}\n"
    script += f"[ -z \"${{old-}}\" ] || declare -p old > '{variables}'\n"
    return stack.shell(script, stack.project)
