"""The command of the notebook image: `python3 -I -m zsingleuser`, the container's first process."""

import os

from zsingleuser import first, home, singleuser, wait_for

# Before the many imports, so that the first process stays small and shares its memory with the
# server.
port = first.become_server(os.environ["JUPYTERHUB_SERVICE_URL"])
home.prepare()
start = singleuser()
first.listen_on(port)
wait_for(os.environ["JUPYTERHUB_API_URL"])
start()
