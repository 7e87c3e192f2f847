"""The sums of Pulumi's releases of the CLI."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import urlopen

from toolchain import pins

#: Seconds to wait for a download site.
TIMEOUT = 5

#: The most bytes to read of a list of sums, which has some ten lines.
LIMIT = 100_000


def archive(version: str, machine: str) -> str:
    """The file name of a release's archive."""
    return f"pulumi-v{version}-{machine}.tar.gz"


def pinned(file: str) -> str | None:
    """The pinned sum of an archive; None if `make lock` could not get it."""
    return pins.sums_in(pins.CLI_SUMS.read_text()).get(file)


def published(version: str) -> str:
    """Download the sums that Pulumi published with a release, for all `pins.CLI_MACHINES`.

    Only TLS protects them.

    Args:
        version: of the CLI, such as 3.276.0.

    Returns:
        Lines as `sha256sum` writes them.

    Raises:
        OSError: no site has them; the text has each site's reason.
    """
    # Named by Pulumi's .github/workflows/sign.yml.
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
        # A redirect to http: without TLS, anybody could have answered.
        if urlsplit(answerer).scheme != urlsplit(url).scheme:
            failures.append(f"{url}: redirects to {answerer}, without TLS")
        elif missing := [name for name in wanted if name not in found]:
            failures.append(f"{url}: has no sum for {', '.join(missing)}")
        else:
            return "".join(f"{found[name]}  {name}\n" for name in wanted)
    raise OSError("\n".join(failures))
