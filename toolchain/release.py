"""The sums of Pulumi's own releases of the CLI."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import urlopen

from toolchain import pins

#: Seconds without a byte until a download site counts as out of reach.
TIMEOUT = 5

#: Bytes; the list has some ten lines.
LIMIT = 100_000


def archive(version: str, machine: str) -> str:
    """The name of a release's archive."""
    return f"pulumi-v{version}-{machine}.tar.gz"


def published(version: str) -> str:
    """Get the sums that a release itself has, of all machines in `pins.CLI_MACHINES`.

    Nothing but TLS vouches for them.

    Args:
        version: of the CLI, such as 3.276.0.

    Returns:
        Lines as `sha256sum` writes them.

    Raises:
        OSError: no site has them; the text has each site's reason.
    """
    # The name that Pulumi's .github/workflows/sign.yml gives it.
    file = f"pulumi-{version}-checksums.txt"
    failures = []
    for site in pins.CLI_RELEASES:
        url = site.format(version=version, file=file)
        try:
            with urlopen(url, timeout=TIMEOUT) as reply:
                # Whoever answers without TLS may be anybody.
                if urlsplit(reply.url).scheme != urlsplit(url).scheme:
                    raise OSError(f"leads to {reply.url}")
                found = pins.sums_in(reply.read(LIMIT).decode(errors="replace"))
        except OSError as error:
            failures.append(f"{url}: {error}")
            continue
        wanted = [archive(version, machine) for machine in pins.CLI_MACHINES]
        if missing := [name for name in wanted if name not in found]:
            failures.append(f"{url}: has no sum of {', '.join(missing)}")
            continue
        return "".join(f"{found[name]}  {name}\n" for name in wanted)
    raise OSError("\n".join(failures))


def sum_of(file: str, version: str) -> tuple[str, bool]:
    """The sum an archive must have, and whether it is pinned.

    Args:
        file: the archive's name.
        version: of the CLI.

    Raises:
        OSError: none is pinned, and the release's own cannot be had.
    """
    if pinned := pins.sums_in(pins.CLI_SUMS.read_text()).get(file):
        return pinned, True
    return pins.sums_in(published(version))[file], False
