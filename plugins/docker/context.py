"""Build contexts: a directory without ignored files, its digest, and the tar for the engine.

The digest is part of an image's stored inputs, so it must equal the official plugin's:
`hashContext` in provider/provider.go of pulumi/pulumi-docker, the walk of tonistiigi/fsutil and
the patterns of moby/patternmatcher.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

#: The name of a Dockerfile from outside the context, in the digest and the tar.
DOCKERFILE = "Dockerfile"


class ContextError(Exception):
    """A build context cannot be read; the text is for the operator."""


class Pattern:
    """One line of a `.dockerignore`, after moby/patternmatcher."""

    def __init__(self, line: str) -> None:
        self.exception = line.startswith("!")
        self.text = line[1:] if self.exception else line
        if not self.text:
            raise ContextError('the ignore pattern "!" excepts nothing')
        try:
            self._matches = _matcher(self.text)
        except re.error as problem:
            raise ContextError(f"the ignore pattern {line!r} is malformed: {problem}") from None

    def matches(self, path: str) -> bool:
        """Tell whether the pattern matches the path itself, without its parents."""
        return self._matches.fullmatch(path) is not None

    def may_match_below(self, directory: str) -> bool:
        """Tell whether an exception could bring back something below an excluded directory.

        Only then fsutil reads such a directory; with wildcards it cannot know, and reads it.
        """
        prefix = self.text.removesuffix("/**").removesuffix("/*")
        return f"{prefix}/".startswith(f"{directory}/")

    @property
    def has_wildcard(self) -> bool:
        """Tell whether the pattern is more than a path and an optional glob at its end."""
        return any(c in self.text.removesuffix("/**").removesuffix("/*") for c in "*[]?^\\")


def _matcher(pattern: str) -> re.Pattern[str]:
    """Translate a pattern: `**` is any number of parts, `*` and `?` stay within one part."""
    if pattern.startswith("**") and not re.search(r"[*?\[\]\\]", pattern[2:]):
        # If nothing special follows, the text after `**` may also be the end of a longer name.
        rest = pattern[2:]
        start = "(?:(?s:.*)/)?" if rest.startswith("/") else "(?s:.*)"
        return re.compile(start + re.escape(rest.removeprefix("/")))
    result, position = "", 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*" and pattern[position : position + 1] == "*":
            position += 2 if pattern[position + 1 : position + 2] == "/" else 1
            result += "(?s:.*)" if position >= len(pattern) else "(?:(?s:.*)/)?"
        elif char == "*":
            result += "[^/]*"
        elif char == "?":
            result += "[^/]"
        elif char == "\\":
            if position >= len(pattern):
                raise re.error("nothing follows the backslash")
            # Even if that makes it a character class: the original passes it on unchanged.
            result += "\\" + pattern[position]
            position += 1
        elif char in ".+()|{}$":
            result += "\\" + char
        else:
            result += char
    return re.compile(result)


@dataclass(frozen=True)
class Ignore:
    """The patterns of a `.dockerignore`, in order: the last one that matches decides."""

    patterns: list[Pattern] = field(default_factory=list)

    @classmethod
    def read(cls, context: str, dockerfile: str) -> Ignore:
        """Read `<dockerfile>.dockerignore`, or else `<context>/.dockerignore`, or nothing."""
        for path in (Path(f"{dockerfile}.dockerignore"), Path(context, ".dockerignore")):
            try:
                text = path.read_text(encoding="utf-8-sig")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as problem:
                raise ContextError(f"cannot read {path}: {problem}") from None
            return cls([Pattern(line) for line in _lines(text)])
        return cls()

    def with_exceptions(self, *paths: str) -> Ignore:
        """Return these patterns with exceptions for the paths, if they would be ignored."""
        added = [Pattern(f"!{path}") for path in paths if self.excludes(path)]
        return Ignore([*self.patterns, *added])

    def excludes(self, path: str) -> bool:
        """Tell whether a path alone, parents included, is left out."""
        matched: list[bool] | None = None
        excluded = False
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            excluded, matched = self.step("/".join(parts[:depth]), matched)
        return excluded

    def step(self, path: str, above: list[bool] | None) -> tuple[bool, list[bool]]:
        """Match a path given the matches of its parent; return (excluded, own matches)."""
        excluded = False
        matched = []
        for index, pattern in enumerate(self.patterns):
            match = above is not None and above[index]
            # A pattern that cannot change the outcome any more is not even tried, and counts as
            # no match for what lies below: moby/patternmatcher, MatchesUsingParentResults.
            if not match and pattern.exception == excluded:
                match = pattern.matches(path)
            matched.append(match)
            if match:
                excluded = not pattern.exception
        return excluded, matched

    def prunes(self, directory: str) -> bool:
        """Tell whether nothing below an excluded directory can come back in."""
        exceptions = [pattern for pattern in self.patterns if pattern.exception]
        if any(pattern.has_wildcard for pattern in exceptions):
            return False
        return not any(pattern.may_match_below(directory) for pattern in exceptions)


def _lines(text: str) -> Iterator[str]:
    for written in text.split("\n"):
        line = written.strip()
        if not line or written.startswith("#"):
            continue
        mark = "!" if line.startswith("!") else ""
        path = line[len(mark) :].strip()
        if path:
            path = posixpath.normpath(path).replace("//", "/", 1)
            path = path[1:] if len(path) > 1 and path.startswith("/") else path
        yield mark + path


def walk(root: str, ignore: Ignore) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path relative to the root, lstat) of all that is not ignored, in byte order.

    A directory comes before what it holds, also one that is ignored but holds an exception.
    """
    yield from _walk(root, "", ignore, None)


def _walk(
    root: str, below: str, ignore: Ignore, above: list[bool] | None
) -> Iterator[tuple[str, os.stat_result]]:
    try:
        names = sorted((item.name for item in Path(root, below).iterdir()), key=os.fsencode)
    except OSError as problem:
        raise ContextError(f"cannot read the build context: {problem}") from None
    for name in names:
        path = f"{below}/{name}" if below else name
        status = Path(root, path).lstat()
        excluded, matched = ignore.step(path, above)
        if not stat.S_ISDIR(status.st_mode):
            if not excluded:
                yield path, status
        elif not excluded:
            yield path, status
            yield from _walk(root, path, ignore, matched)
        elif not ignore.prunes(path):
            inner = list(_walk(root, path, ignore, matched))
            if inner:
                yield path, status
                yield from inner


def digest(context: str, dockerfile: str) -> str:
    """Return the content digest of a context and its Dockerfile, as the official plugin has it.

    Names, all mode bits and contents count; owners and times do not. Raises ContextError.
    """
    total = hashlib.sha256()
    # The Dockerfile counts first, under a fixed name and without a mode: moving it changes nothing.
    total.update(_entry(DOCKERFILE, "----------", _content_hash(dockerfile)))
    skipped: set[str] = set()
    for path, status in walk(context, Ignore.read(context, dockerfile)):
        directory = posixpath.dirname(path)
        if stat.S_ISDIR(status.st_mode) or any(_is_below(path, place) for place in skipped):
            continue
        place = os.path.normpath(f"{context}/{path}")
        if stat.S_ISLNK(status.st_mode):
            target = resolve_links(place)
            if target is None:
                # A link to nowhere ends the official plugin's walk of this directory, silently.
                skipped.add(directory)
                continue
            content = hashlib.sha256(os.fsencode(target)).digest()
        elif stat.S_ISSOCK(status.st_mode):
            raise ContextError(f"{place} is a socket; leave it out by a line in .dockerignore")
        elif stat.S_ISREG(status.st_mode):
            content = _content_hash(place)
        else:
            content = hashlib.sha256().digest()
        total.update(_entry(path, go_mode(status.st_mode), content))
    return total.hexdigest()


def _is_below(path: str, directory: str) -> bool:
    return not directory or path.startswith(f"{directory}/")


def _entry(path: str, mode: str, content: bytes) -> bytes:
    return os.fsencode(path) + mode.encode() + content + b"\0"


def _content_hash(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as problem:
        raise ContextError(f"cannot read {path}: {problem.strerror}") from None


def go_mode(mode: int) -> str:
    """Return a file mode the way Go prints it (`FileMode.String`), which is what gets hashed."""
    letters = "".join(
        letter
        for letter, applies in (
            ("d", stat.S_ISDIR(mode)),
            ("L", stat.S_ISLNK(mode)),
            ("D", stat.S_ISBLK(mode) or stat.S_ISCHR(mode)),
            ("p", stat.S_ISFIFO(mode)),
            ("u", mode & stat.S_ISUID),
            ("g", mode & stat.S_ISGID),
            ("c", stat.S_ISCHR(mode)),
            ("t", mode & stat.S_ISVTX),
        )
        if applies
    )
    return (letters or "-") + stat.filemode(mode & 0o777)[1:]


def resolve_links(path: str) -> str | None:
    """Return the path with all links resolved, relative if it was; None if it leads nowhere.

    As Go's `filepath.EvalSymlinks`: `os.path.realpath` would make it absolute, and the digest
    would depend on where the checkout lies.
    """
    done: list[str] = []
    todo = _parts(path)
    links = 0
    while todo:
        part = todo.pop()
        if part == "/":
            done = [""]
        elif part == "..":
            if done and done[-1] not in ("", ".."):
                done.pop()
            elif done != [""]:
                done.append(part)
        else:
            done.append(part)
            target = _target("/".join(done))
            if target is None:
                return None
            if target:
                links += 1
                if links > 255:
                    raise ContextError(f"{path} is a loop of symbolic links")
                done.pop()
                todo += _parts(target)
    return "/" if done == [""] else "/".join(done) or "."


def _parts(path: str) -> list[str]:
    """Return the parts of a path, last part first; a leading slash is a part."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return parts[::-1] + (["/"] if path.startswith("/") else [])


def _target(path: str) -> str | None:
    """Return where a link leads, "" for what is no link, None where there is nothing."""
    try:
        is_link = stat.S_ISLNK(Path(path).lstat().st_mode)
        return str(Path(path).readlink()) if is_link else ""
    except OSError:
        return None


def relative_dockerfile(context: str, dockerfile: str) -> str:
    """Return the Dockerfile's path relative to the context, with links resolved in both."""
    return os.path.relpath(os.path.realpath(dockerfile), os.path.realpath(context))


def write_tar(context: str, dockerfile: str, output: IO[bytes]) -> str:
    """Write the context as a tar, owned by root; return the Dockerfile's name in it.

    Raises ContextError where a file cannot be read.
    """
    inside = relative_dockerfile(context, dockerfile)
    outside = inside.startswith("../")
    # The builder needs the Dockerfile even where it is ignored for COPY.
    kept = () if outside else (inside,)
    ignore = Ignore.read(context, dockerfile).with_exceptions(".dockerignore", *kept)
    name = inside
    try:
        with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
            # BuildKit looks at the first kilobyte to see that this is a tar: a first file whose
            # name needs an extended header would not fit.
            tar.add(context, ".", recursive=False, filter=_as_root)
            if outside:
                content = Path(dockerfile).read_bytes()
                name = f".dockerfile.{hashlib.sha256(content).hexdigest()[:20]}"
                tar.add(dockerfile, name, recursive=False, filter=_as_root)
            for path, _ in walk(context, ignore):
                tar.add(Path(context, path), path, recursive=False, filter=_as_root)
    except OSError as problem:
        raise ContextError(f"cannot read the build context: {problem}") from None
    return name


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = int(member.mtime)  # fractions of a second take an extended header each
    return member
