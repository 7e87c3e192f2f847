"""Say what is known to be wrong with what the images hold: `make audit`.

Runs in the development environment. Each ecosystem is asked with its own tool and its own data:
pip-audit asks PyPI, npm its registry, and apt, in the image, the mirrors that the image names. A
question that nobody answers counts as found something: silence is no all-clear.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import engine
from toolchain.console import Problem, fail
from toolchain.lock import HUB, NOTEBOOK
from toolchain.places import ROOT, VENV

#: What Debian has fixed since the image was built. apt's lists go into a container that is thrown
#: away; a mirror without security updates would have nothing to say.
DEBIAN = """
code=0
grep -rqs -- -security /etc/apt/sources.list /etc/apt/sources.list.d || {
    echo "The image gets no security updates: none of its apt sources is a security suite."
    code=1
}
apt-get -qq --error-on=any update
if apt-get -qq --simulate dist-upgrade | grep ^Inst; then
    code=1
fi
exit $code
"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A command that succeeds when nothing is known."""

    about: str
    command: Sequence[str | Path]
    folder: Path = ROOT


def questions(images: Sequence[str]) -> Iterator[Question]:
    """All there is to ask.

    Args:
        images: whose Debian packages are looked at.

    Raises:
        Problem: the engine does not have one of them.
    """
    for folder in (Path(), NOTEBOOK, HUB):
        lock = folder / "requirements.txt"
        yield Question(
            about=f"Python packages of {lock}",
            command=[
                *(VENV / "bin/pip-audit", "--strict", "--disable-pip", "--require-hashes"),
                *("--progress-spinner=off", f"--requirement={lock}"),
            ],
        )
    yield Question(
        about=f"npm packages of {HUB / 'package-lock.json'}",
        command=["npm", "audit", "--omit=dev", "--package-lock-only"],
        folder=ROOT / HUB,
    )
    for image in images:
        platform = engine.image(image, engine.PLATFORM)
        yield Question(
            about=f"Debian packages of {image}",
            command=[
                *(engine.client(), "run", "--rm", "--user=0", f"--platform={platform}"),
                *("--entrypoint=sh", image, "-euc", DEBIAN),
            ],
        )


def reason(errors: str) -> str:
    """What a tool wrote to standard error; of a traceback, which pip-audit has, the last line."""
    before, traceback, stack = errors.partition("Traceback (most recent call last)")
    return f"{before}{stack.rstrip().splitlines()[-1]}\n" if traceback else errors


def audit(images: Sequence[str]) -> None:
    """Ask everything, and show the answers.

    Raises:
        Problem: something is known, or somebody did not answer, or an image is not there.
    """
    open_questions = []
    for question in list(questions(images)):
        print(f"\n{question.about}", flush=True)
        try:
            answer = subprocess.run(
                question.command,
                cwd=question.folder,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        except OSError as error:
            raise Problem(f"{question.command[0]} cannot be run: {error.strerror}") from error
        print(reason(answer.stderr), end="", file=sys.stderr, flush=True)
        if answer.returncode:
            open_questions.append(question.about)
        else:
            print("nothing known")
    if open_questions:
        raise Problem(
            "\n  ".join(["found something, or got no answer; see above:", *open_questions])
        )


def main() -> int:
    """Entry point; returns the exit code."""
    try:
        audit(sys.argv[1:])
    except Problem as problem:
        return fail(problem)
    return 0


if __name__ == "__main__":
    sys.exit(main())
