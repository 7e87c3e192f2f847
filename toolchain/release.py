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


def pinned(file: str) -> str | None:
    """The sum an archive of this name must have; None where `make lock` could not get it."""
    return pins.sums_in(pins.CLI_SUMS.read_text()).get(file)


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
                answerer, text = reply.url, reply.read(LIMIT).decode(errors="replace")
        except OSError as error:
            failures.append(f"{url}: {error}")
            continue
        found = pins.sums_in(text)
        wanted = [archive(version, machine) for machine in pins.CLI_MACHINES]
        # Whoever answers without TLS may be anybody.
        if urlsplit(answerer).scheme != urlsplit(url).scheme:
            failures.append(f"{url}: leads to {answerer}")
        elif missing := [name for name in wanted if name not in found]:
            failures.append(f"{url}: has no sum of {', '.join(missing)}")
        else:
            return "".join(f"{found[name]}  {name}\n" for name in wanted)
    raise OSError("\n".join(failures))
