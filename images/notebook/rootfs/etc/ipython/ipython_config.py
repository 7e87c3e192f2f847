"""For kernels and ipython of the image; kernels that a user installed read this file, too."""

import sys

c = get_config()  # type: ignore[name-defined] # IPython gives it to this file

if sys.prefix == "/opt/jupyter":
    c.InteractiveShellApp.extensions = ["zsingleuser.pip"]
