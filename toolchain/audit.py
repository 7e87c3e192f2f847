"""Look for known vulnerabilities and missing updates in the images: `make audit`.

Runs in the development environment. Each ecosystem has its own tool and its own data: pip-audit
asks PyPI or the OSV service that its environment names, npm asks its registry, and apt, run in the
image, asks the mirrors that the image names. A check that gets no answer counts as failed: silence
is no all-clear.
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
from toolchain.lock import HUB, NOTEBOOK, PROXY, SETS
from toolchain.places import ROOT, VENV

#: Lists what Debian has fixed since the image was built. apt's lists go into a container that is
#: removed afterwards. An image whose sources have no security suite fails. A dated archive is asked
#: as of the last midnight, since at the image's own date it has nothing newer, and its Release must
#: still be valid. `apt list`, since `apt upgrade` does not mention packages that it holds back.
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
FIX = (
    "To fix: `make lock` (Python, npm), `make base` (Debian). Next steps, and what to do when a "
    "check got no answer: docs/operations.md."
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A command that succeeds when it finds nothing wrong."""

    about: str
    command: Sequence[str | Path]
    folder: Path = ROOT


def questions(images: Mapping[str, str]) -> Iterator[Question]:
    """All checks.

    Args:
        images: those whose Debian packages are checked, names or digests by what to call them.

    Raises:
        Problem: the engine does not have one of the images.
    """
    locks = (folder / "requirements.txt" for folder in (Path(), NOTEBOOK, HUB))
    for lock in (*locks, *(source.with_suffix(".txt") for source in SETS)):
        yield Question(
            about=f"Python packages of {lock}",
            command=[
                *(VENV / "bin/pip-audit", "--strict", "--disable-pip", "--aliases=on"),
                *("--progress-spinner=off", f"--requirement={lock}"),
            ],
        )
    yield Question(
        about=f"npm packages of {PROXY / 'package-lock.json'}",
        # The user's own npm settings could silence it, or let it succeed despite a finding.
        command=[
            *("npm", "audit", "--omit=dev", "--package-lock-only"),
            *("--no-offline", "--audit-level=low"),
        ],
        folder=ROOT / PROXY,
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
    """What a tool wrote to standard error, with a traceback cut down to its last exception."""
    before, traceback, stack = errors.partition("Traceback (most recent call last)")
    if not traceback:
        return errors
    lines = stack.rstrip().splitlines()
    # The last exception may have no message.
    reasons = [line for line in lines if re.match(r"[\w.]+: ", line)]
    return f"{before}{(reasons or lines)[-1]}\n"


def nothing_found(question: Question) -> bool:
    """Ask, show the answer, and return whether nothing was found."""
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
    """Run all checks, and show the answers.

    Raises:
        Problem: a check found something or got no answer, or an image is missing.
    """
    failed = []
    for question in list(questions(images)):
        print(f"\n{question.about}", flush=True)
        if nothing_found(question):
            print("nothing found", flush=True)
        else:
            failed.append(question.about)
    if failed:
        named = "\n  ".join(["these found something or got no answer, see above:", *failed])
        raise Problem(f"{named}\n{FIX}")


def _images(name: str, chosen: Sequence[str]) -> dict[str, str]:
    images = stack.images(name, chosen)
    if not images:
        print(f"stack {name} has no images yet, so no Debian packages are checked", flush=True)
    return images


if __name__ == "__main__":
    sys.exit(exit_code(lambda: audit(_images(sys.argv[1], sys.argv[2:]))))
