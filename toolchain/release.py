"""The sums of Pulumi's releases of the CLI."""

from __future__ import annotations

from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from toolchain import pins

#: Seconds to wait for a download site.
TIMEOUT = 5

#: The most bytes to read of a list of sums, which has some ten lines.
LIMIT = 100_000


class _KeepsTls(HTTPRedirectHandler):
    """Follows no redirect from TLS to a site without, where anybody could answer."""

    def redirect_request(  # noqa: PLR0913, PLR0917 - the library's own signature
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise OSError(f"redirects to {newurl}, without TLS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


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
    opener = build_opener(_KeepsTls)
    for site in pins.CLI_RELEASES:
        url = site.format(version=version, file=file)
        try:
            with opener.open(url, timeout=TIMEOUT) as reply:
                text = reply.read(LIMIT).decode(errors="replace")
        except OSError as error:
            failures.append(f"{url}: {error}")
            continue
        found = pins.sums_in(text)
        wanted = [archive(version, machine) for machine in pins.CLI_MACHINES]
        if missing := [name for name in wanted if name not in found]:
            failures.append(f"{url}: has no sum for {', '.join(missing)}")
        else:
            return "".join(f"{found[name]}  {name}\n" for name in wanted)
    raise OSError("\n".join(failures))
