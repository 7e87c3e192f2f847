"""What the notebook image starts: `python3 -I -m zsingleuser`, as the container's first process."""

import os

from zsingleuser import first, singleuser, wait_for

# Before the many imports: the first process stays small, and its memory is the server's as well.
port = first.become_server(os.environ["JUPYTERHUB_SERVICE_URL"])
start = singleuser()
first.listen_on(port)
wait_for(os.environ["JUPYTERHUB_API_URL"])
start()
