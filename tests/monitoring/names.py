"""The metrics that rules and dashboard ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from toolchain.places import ROOT

FOLDER = ROOT / "monitoring"

#: How metrics of this project, of JupyterHub and of a process begin.
NAME = re.compile(r"\b(?:zhub|guard|proxy|jupyterhub|process)_\w+")


def used(file: Path) -> set[str]:
    """Return the names in the expressions of a file of the folder."""
    text = (FOLDER / file).read_text()
    if file.suffix == ".json":
        content: Any = json.loads(text)
        asked = [target["expr"] for panel in content["panels"] for target in panel["targets"]]
    else:
        content = yaml.safe_load(text)
        asked = [rule["expr"] for group in content["groups"] for rule in group["rules"]]
    return {name for expression in asked for name in NAME.findall(expression)}
