"""Run one Pulumi program in this process; the language host sends the request on standard input.

The request is JSON: the fields of `RunRequest` in Pulumi's language.proto, and `engineAddress`. A
process runs one program once; otherwise preview and update would share imported modules.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

#: The exit code when the error has already been reported to the engine.
REPORTED = 32

#: The most threads to start; the engine's `parallel` may be practically infinite.
MOST_THREADS = 1024

#: The exit code of a shell's own commands after Ctrl-C.
INTERRUPTED = 130


def user_traceback(error: Exception, program: Path) -> str:
    """The traceback from the program's first own line on, without the frames that led there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        index for index, frame in enumerate(frames) if Path(frame.filename).is_relative_to(program)
    ]
    limit = own[0] - len(frames) if own else None
    return "".join(traceback.format_exception(error, limit=limit)).rstrip()


def run(request: dict[str, Any]) -> int:
    """Run the program; returns the exit code of this process."""
    import pulumi
    import pulumi.runtime

    entry_point = Path(request["programDirectory"], request["entryPoint"])
    if entry_point.is_dir():
        entry_point /= "__main__.py"

    # As if Python had been started with the program: its folder comes first.
    sys.path.insert(0, str(entry_point.parent))
    sys.argv = [str(entry_point), *request["args"]]
    pulumi.runtime.set_all_config(request["config"], request["configSecretKeys"])
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            project=request["project"],
            stack=request["stack"],
            monitor=request["monitorAddress"],
            engine=request["engineAddress"],
            parallel=request["parallel"],
            dry_run=request["dryRun"],
            organization=request["organization"],
            root_directory=request["rootDirectory"],
        )
    )
    # A failed program leaves futures that nobody awaits; warnings about them would hide the cause.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    def program() -> None:
        if not entry_point.exists():
            raise pulumi.RunError(f"there is no Pulumi program: {entry_point} does not exist")
        runpy.run_path(str(entry_point), run_name="__main__")

    async def in_stack() -> None:
        # Resource calls wait in threads; with fewer than `parallel`, they wait for each other.
        threads = min(max(request["parallel"], 1) * 4, MOST_THREADS)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
        await pulumi.runtime.run_in_stack(program)

    try:
        asyncio.run(in_stack())
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return REPORTED
    except Exception as error:  # noqa: BLE001 - shown to the program's author
        own = user_traceback(error, Path(request["programDirectory"]))
        pulumi.log.error(f"Program failed with an unhandled exception:\n{own}")
        return REPORTED
    return 0


def interrupt(_: int, __: FrameType | None) -> None:
    """End at once: an orderly end would wait for resource calls that get no answer any more."""
    os._exit(INTERRUPTED)


def main() -> int:
    """Entry point; returns the exit code."""
    signal.signal(signal.SIGINT, interrupt)
    request = json.load(sys.stdin)
    if importlib.util.find_spec("pulumi") is None:
        print(f"{sys.executable} has no package pulumi. Type: pulumi install", file=sys.stderr)
        return 1
    return run(request)


if __name__ == "__main__":
    sys.exit(main())
