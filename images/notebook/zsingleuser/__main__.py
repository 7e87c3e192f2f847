"""The command of the notebook image: `python3 -I -m zsingleuser`, the container's first process."""

import os
import sys

from zsingleuser import activity, first, home, singleuser, wait_for

# Before the many imports, so that the first process stays small and shares its memory with the
# server.
port = first.become_server(os.environ["JUPYTERHUB_SERVICE_URL"])
home.prepare()
start = singleuser()
activity.install()
os.environ.setdefault("JUPYTERHUB_ACTIVITY_INTERVAL", str(activity.INTERVAL))
sys.argv += activity.options(os.environ)
first.listen_on(port)
wait_for(os.environ["JUPYTERHUB_API_URL"])
start()
