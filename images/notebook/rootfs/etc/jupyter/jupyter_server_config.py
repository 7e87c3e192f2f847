"""Exports of notebooks that need a program are offered only where the image has it.

Where homes have a limit, what is deleted is gone, and frees its space: the trash is in the home.
"""

import os
from shutil import which

c = get_config()  # type: ignore[name-defined] # Jupyter gives it to this file

pandoc = which("pandoc") is not None
c.ASCIIDocExporter.enabled = pandoc
c.LatexExporter.enabled = pandoc
c.RSTExporter.enabled = pandoc
c.PDFExporter.enabled = pandoc and which("xelatex") is not None
# Chromium and Qt's browser, which no s390x has, and their drivers.
c.QtPDFExporter.enabled = False
c.QtPNGExporter.enabled = False
c.WebPDFExporter.enabled = False

if os.environ.get("ZHUB_HOME_LIMIT"):
    c.FileContentsManager.delete_to_trash = False
