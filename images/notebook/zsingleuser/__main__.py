"""The command of the notebook image: `python3 -I -m zsingleuser`, the container's first process."""

import os
import sys
from importlib import import_module
from pathlib import Path

from zsingleuser import (
    activity,
    busy,
    cookies,
    filtered,
    first,
    home,
    last_words,
    lease,
    memory,
    output,
    pulls,
    singleuser,
    unseen,
    wait_for,
)

# Before the many imports, so that the first process stays small and shares its memory with the
# server.
own_lease = lease.of(os.environ)
port = first.become_server(os.environ["JUPYTERHUB_SERVICE_URL"], own_lease)
with last_words.reported(port, os.environ):
    home.prepare()
    start = singleuser()
    activity.install()
    busy.install()
    cookies.install()
    memory.install()
    output.install()
    unseen.install()
    pulls.install(Path.home())
    os.environ.setdefault("JUPYTERHUB_ACTIVITY_INTERVAL", str(activity.INTERVAL))
    # In memory: the home may be broken, or the engine's whole disk full, and a user can clean up
    # only in a server.
    os.environ.setdefault("JUPYTER_RUNTIME_DIR", "/dev/shm/jupyter-runtime")  # noqa: S108
    # It moves files to where they have been since 2015, and ends the server where it cannot.
    import_module("jupyter_core.application").JupyterApp.migrate_config = lambda _: None
    sys.argv += activity.options(os.environ)
    first.listen_on(port)
    # Nothing of the user's has run so far: only what the image has, and none of it used a network.
    filtered.wait(os.environ)
    wait_for(os.environ["JUPYTERHUB_API_URL"])
    if own_lease:
        own_lease.keep(os.environ)
    start()
