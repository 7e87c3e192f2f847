"""Repair packages from PyPI that work wrongly here: `repair.py FOLDER`, on the building machine.

Each repair says what is wrong without it. A package without the text to replace stops the build:
somebody must look whether the new version still needs the repair.
"""

import sys
from pathlib import Path

REPAIRS = {
    # Browsers read these bytes as little-endian numbers on every machine. On s390x a figure would
    # show other numbers, without any error. They came with
    # https://github.com/plotly/plotly.py/pull/4470; nobody has reported the byte order yet.
    "_plotly_utils/utils.py": (
        "base64.b64encode(v)",
        'base64.b64encode(v.astype(v.dtype.newbyteorder("<")))',
    ),
    "plotly/serializers.py": (
        '"buffer": memoryview(v)',
        '"buffer": memoryview(v.astype(v.dtype.newbyteorder("<")).tobytes())',
    ),
    # JupyterLab asks for the memory every five seconds. An open tab is not activity: without this,
    # no server with an open tab would ever be idle.
    "jupyter_resource_usage/api.py": (
        "class ApiHandler(APIHandler):\n",
        "class ApiHandler(APIHandler):\n    _track_activity = False\n",
    ),
}


def repair(folder: Path) -> None:
    """Repair the packages in a folder.

    Raises:
        SystemExit: when a package is not as expected.
    """
    for name, (wrong, right) in REPAIRS.items():
        file = folder / name
        if not file.exists():
            continue
        text = file.read_text()
        if text.count(wrong) != 1:
            raise SystemExit(f"{name} does not have {wrong!r} once: see images/notebook/repair.py")
        file.write_text(text.replace(wrong, right))


if __name__ == "__main__":
    repair(Path(sys.argv[1]))
