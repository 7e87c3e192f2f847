"""What a page prints, typed by an operator in the checkout of a test's stack."""

from __future__ import annotations

import shlex

from tests.docs.commands import as_typed
from tests.engine.stack import Stack

#: What `make` does here, where all is installed already..
MAKE = """
make() {
    case $1 in
        backup) "${python[@]}" backup "$(of STACK "$@")" '' '' '' ;;
        doctor) "${python[@]}" directory "$(of STACK "$@")" "$(of LDAP "$@")" ;;
        homes) "${python[@]}" homes "$(of STACK "$@")" ;;
        restore) "${python[@]}" restore "$(of STACK "$@")" "$(of FROM "$@")" "$(of USER "$@")" '' ;;
        sizes) "${python[@]}" sizes "$(of STACK "$@")" "$(of LIMIT "$@")" ;;
        users) "${python[@]}" users "$(of STACK "$@")" "$(of DO "$@")" "$(of USER "$@")" '' '' '' ;;
    esac
}
of() {
    local name=$1 word
    shift
    for word; do case $word in "$name"=*) echo "${word#*=}" ;; esac; done
}
"""


def typed(stack: Stack, *blocks: str) -> str:
    """Run these commands in one shell, which goes on in the next call; return what they print.

    The shell keeps `old`, the only variable that one block sets for another.
    """
    variables = stack.folder / "variables"
    script = as_typed(list(blocks), stack.name, stack.config_file)
    script = f"[ ! -e '{variables}' ] || . '{variables}'\n{MAKE}\n{script}\n"
    script += f"[ -z \"${{old-}}\" ] || declare -p old > '{variables}'\n"
    words = shlex.join(stack.operator("")[:-2])
    return stack.shell(f"python=({words})\n{script}", stack.project)
