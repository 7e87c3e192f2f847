"""What the notebook image starts: `python3 -I -m zsingleuser`."""

import os

from zsingleuser import singleuser, wait_for

start = singleuser()
wait_for(os.environ["JUPYTERHUB_API_URL"])
start()
