"""Say what is known to be wrong with what the images hold: `make audit`.

Runs in the development environment. Each ecosystem is asked with its own tool and its own data:
pip-audit asks PyPI or the OSV service that its environment names, npm its registry, and apt, in the
image, the mirrors that the image names. A question that nobody answers counts as found something:
silence is no all-clear.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import engine, snapshot, stack
from toolchain.console import Problem, exit_code
from toolchain.lock import HUB, NOTEBOOK
from toolchain.places import ROOT, VENV

#: What Debian has fixed since the image was built. apt's lists go into a container that is thrown
#: away; a mirror without security updates would have nothing to say, nor would an archive as of the
#: image's own moment: it is asked as of the last midnight, and for a Release that is still valid.
#: Only whether `apt list` says anything is of importance, not how; an upgrade is silent about what
#: it would hold back.
DEBIAN = """
sed -Ei "s,/[0-9]{8}T[0-9]{6}Z,/$MIDNIGHT,g; s/check-valid-until=no/check-valid-until=yes/" \\
    $(find /etc/apt/sources.list* -type f)
apt-get -qq --error-on=any update
code=0
apt-get indextargets --format '$(RELEASE) $(LABEL)' | grep -qi -- -security || {
    echo "The image gets no security updates: none of its apt sources is a security suite."
    code=1
}
newer=$(apt -qq --option=Apt::Cmd::Disable-Script-Warning=true list --upgradable)
if [ "$newer" ]; then
    echo "$newer"
    code=1
fi
exit $code
"""

#: The last line of an audit that found something.
MEND = (
    "Fixes: `make lock` (Python, npm), `make base` (Debian). What then, and what to do without an "
    "answer: docs/operations.md."
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A command that succeeds when nothing is known."""

    about: str
    command: Sequence[str | Path]
    folder: Path = ROOT


def questions(images: Mapping[str, str]) -> Iterator[Question]:
    """All there is to ask.

    Args:
        images: whose Debian packages are looked at; what to call them, and names or digests.

    Raises:
        Problem: the engine does not have one of them.
    """
    for folder in (Path(), NOTEBOOK, HUB):
        lock = folder / "requirements.txt"
        yield Question(
            about=f"Python packages of {lock}",
            command=[
                *(VENV / "bin/pip-audit", "--strict", "--disable-pip", "--aliases=on"),
                *("--progress-spinner=off", f"--requirement={lock}"),
            ],
        )
    yield Question(
        about=f"npm packages of {HUB / 'package-lock.json'}",
        # Somebody's npm settings may make it silent, or let it succeed with what it found.
        command=[
            *("npm", "audit", "--omit=dev", "--package-lock-only"),
            *("--no-offline", "--audit-level=low"),
        ],
        folder=ROOT / HUB,
    )
    for name, image in images.items():
        platform = engine.image(image, engine.PLATFORM)
        yield Question(
            about=f"Debian packages of {name}",
            command=[
                *(engine.client(), "run", "--rm", "--user=0", f"--platform={platform}"),
                f"--env=MIDNIGHT={snapshot.last_midnight()}",
                *("--entrypoint=sh", image, "-euc", DEBIAN),
            ],
        )


def reason(errors: str) -> str:
    """What a tool wrote to standard error; of tracebacks, which pip-audit has, the last reason."""
    before, traceback, stack = errors.partition("Traceback (most recent call last)")
    if not traceback:
        return errors
    lines = stack.rstrip().splitlines()
    # The last exception of all may have nothing to say.
    reasons = [line for line in lines if re.match(r"[\w.]+: ", line)]
    return f"{before}{(reasons or lines)[-1]}\n"


def nothing_known(question: Question) -> bool:
    """Ask, and show the answer; whether it is that nothing is known."""
    try:
        answer = subprocess.run(
            question.command, cwd=question.folder, stderr=subprocess.PIPE, text=True, check=False
        )
    except OSError as error:
        print(f"{question.command[0]} cannot be run: {error.strerror}", file=sys.stderr, flush=True)
        return False
    print(reason(answer.stderr), end="", file=sys.stderr, flush=True)
    return answer.returncode == 0


def audit(images: Mapping[str, str]) -> None:
    """Ask everything, and show the answers.

    Raises:
        Problem: something is known, or somebody did not answer, or an image is not there.
    """
    open_questions = []
    for question in list(questions(images)):
        print(f"\n{question.about}", flush=True)
        if nothing_known(question):
            print("nothing known", flush=True)
        else:
            open_questions.append(question.about)
    if open_questions:
        named = "\n  ".join(["found something, or got no answer; see above:", *open_questions])
        raise Problem(f"{named}\n{MEND}")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: audit(stack.images(sys.argv[1], sys.argv[2:]))))
