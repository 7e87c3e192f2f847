"""What the notebook image starts: `python3 -I -m zsingleuser`."""

from zsingleuser import singleuser

singleuser()()
