"""What users of the default image find: programs, packages, widgets, kernels of their own."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator

import docker
import pytest

from tests.built import Images
from tests.images.notebook.serving import Serving, serving
from tests.images.notebook.test_notebook import home, run, wheel  # noqa: F401 - a fixture
from toolchain.places import ROOT

pytestmark = pytest.mark.engine

#: Front ends of the widgets and plots, which JupyterLab's pages load.
FRONT_ENDS = {
    "@jupyter-server/resource-usage",
    "@jupyter-widgets/jupyterlab-manager",
    "anywidget",
    "jupyter-matplotlib",
    "jupyterlab-plotly",
    "zhub-home",
    "zhub-login",
    "zhub-messages",
}

#: Opens the pages of two kernels, lets the first compute and print nothing, and says which are left
#: once there is one less.
TWO_KERNELS = """
import asyncio, json
from tornado import httpclient, websocket
KERNELS, TOKEN = "127.0.0.1:8888/user/alice/api/kernels", {"Authorization": "token x"}
ASK = {"headers": TOKEN, "request_timeout": 240}
async def run():
    client = httpclient.AsyncHTTPClient()
    ids, pages = [], []
    for code in ("while True: pass", "pass"):
        made = await client.fetch("http://" + KERNELS, method="POST", body="{}", **ASK)
        ids.append(json.loads(made.body)["id"])
        channels = httpclient.HTTPRequest(f"ws://{KERNELS}/{ids[-1]}/channels", **ASK)
        pages.append(await websocket.websocket_connect(channels))
        header = {"msg_id": "m", "msg_type": "execute_request", "username": "", "session": "s",
                  "version": "5.3", "date": ""}
        await pages[-1].write_message(json.dumps(
            {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell",
             "content": {"code": code, "silent": False}, "buffers": []}))
    left = ids
    while len(left) == 2:
        await asyncio.sleep(1)
        listed = await client.fetch("http://" + KERNELS, **ASK)
        left = [one["id"] for one in json.loads(listed.body)]
    print([ids.index(one) for one in left])
asyncio.run(asyncio.wait_for(run(), 240))
"""


@pytest.fixture(scope="module")
def server(engine: docker.DockerClient, images: Images) -> Iterator[Serving]:
    with serving(engine, images.notebook, []) as running:
        yield running


def test_programs_of_every_day_are_there(server: Serving) -> None:
    programs = ("git", "ssh", "scp", "less", "curl", "zip", "unzip", "nano", "file", "make", "pip")
    server.shell("; ".join(f"command -v {name}" for name in programs))
    server.shell("cd $(mktemp -d); git init -q; touch a; git add a; git status | grep -q a")
    assert "UTF-8" in server.shell("locale charmap")


def test_a_kernel_that_starts_does_not_break_the_list_of_kernels(server: Serving) -> None:
    """Jupyter's own class has no time for it then, and the list is an error 500."""
    script = (
        "from zsingleuser import activity, singleuser; singleuser(); activity.install();"
        "from jupyter_server.services.kernels.kernelmanager import ServerKernelManager;"
        "print(ServerKernelManager().last_activity.tzinfo)"
    )
    assert "UTC" in server.shell(f"/opt/jupyter/bin/python3 -I -c '{script}'")


def test_a_kernel_that_is_not_used_is_ended_and_a_busy_one_is_not(
    engine: docker.DockerClient, images: Images
) -> None:
    """Minutes of kernelIdleTimeout are seconds here; the pages of both kernels are open."""
    with serving(engine, images.notebook, [], ZHUB_KERNEL_IDLE_TIMEOUT="8") as server:
        assert server.python(TWO_KERNELS) == "[0]\n"


def test_an_environment_is_made_without_a_network(server: Serving) -> None:
    assert "pip " in server.shell("python3 -m venv /tmp/env; /tmp/env/bin/pip --version")


def test_packages_of_the_default_image_work(server: Serving) -> None:
    printed = server.run(
        """
        import openpyxl, pandas, seaborn, statsmodels.api, tqdm.notebook, plotly.graph_objects
        import ipywidgets, ipympl, anywidget
        frame = pandas.DataFrame({"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]})
        frame.to_excel("/tmp/a.xlsx")
        print(pandas.read_excel("/tmp/a.xlsx")["y"].sum())
        print(round(statsmodels.api.OLS(frame["y"], frame["x"]).fit().params["x"], 6))
        display(ipywidgets.IntSlider())
        list(tqdm.notebook.tqdm(range(3)))
        display(plotly.graph_objects.FigureWidget())
        """.replace("\n        ", "\n"),
        """
        %matplotlib widget
        import matplotlib.pyplot as plt
        plt.plot([1, 2]); plt.show()
        """.replace("\n        ", "\n"),
    )
    assert printed.startswith("12\n2.0\n"), printed
    assert printed.count("application/vnd.jupyter.widget-view+json") == 4, printed


def test_pages_load_the_front_ends_of_the_widgets(server: Serving) -> None:
    code, page = server.request("GET", "lab")
    assert code == 200
    data = page.partition('id="jupyter-config-data" type="application/json">')[2]
    config = json.loads(data.partition("</script>")[0])
    assert {each["name"] for each in config["federated_extensions"]} >= FRONT_ENDS
    for each in config["federated_extensions"]:
        path = f"lab/extensions/{each['name']}/{each['load']}"
        assert server.request("GET", path)[0] == 200, path


def test_plots_have_numbers_in_the_byte_order_of_browsers(server: Serving) -> None:
    """plotly.js takes these bytes as little-endian on every machine."""
    printed = server.run(
        """
        import base64, struct, numpy, plotly.express, sys
        for values, code in (([1.0, 2.5], "<2d"), ([1, 70000], "<2i"), ([1, 300], "<2h")):
            figure = plotly.express.line(y=numpy.array(values)).to_plotly_json()
            data = figure["data"][0]["y"]["bdata"]
            print(*struct.unpack(code, base64.b64decode(data)))
        import plotly.serializers
        sent = plotly.serializers.custom_serializers["to_json"](numpy.array([1.0, 2.5]), None)
        print(*struct.unpack("<2d", sent["buffer"]), sent["dtype"])
        print(sys.byteorder)
        """.replace("\n        ", "\n")
    )
    numbers = ["1.0 2.5", "1 70000", "1 300", "1.0 2.5 float64"]
    assert printed.splitlines() == [*numbers, "big"]


def test_frames_of_a_pc_are_read_as_the_page_says(server: Serving) -> None:
    """And Stata files; the others are in test_byte_order.py."""
    page = (ROOT / "docs/packages.md").read_text()
    [block] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    made = """
        import numpy, pandas
        numbers = {"n": numpy.array([1, 70000], "<i8"), "x": numpy.array([1.5, 2.5], "<f8")}
        pandas.DataFrame(numbers).to_pickle("frame.pkl")
        stata = pandas.DataFrame({"n": [1, 70000], "s": ["Grüße", "b"]})
        stata.to_stata("a.dta", version=118, byteorder="little", write_index=False)
        stata.to_stata("long.dta", version=118, write_index=False, convert_strl=["s"])
        """
    printed = server.run(
        textwrap.dedent(made),
        "pandas.read_pickle('frame.pkl').groupby('n')['x'].sum()",
        textwrap.dedent(block),
        "print(frame.groupby('n')['x'].sum().to_dict())",
        "print(pandas.read_stata('a.dta').values.tolist())",
        "try: pandas.read_stata('long.dta')\nexcept KeyError: print('no long strings')",
    )
    assert "Little-endian buffer not supported" in printed
    assert "{1: 1.5, 70000: 2.5}\n" in printed
    assert "[[1, 'Grüße'], [70000, 'b']]\n" in printed
    assert "https://bugs.debian.org/877419" in printed
    assert printed.endswith("no long strings\n")


def test_titles_may_be_chinese_japanese_and_korean(server: Serving) -> None:
    printed = server.run(
        """
        import warnings, matplotlib.pyplot as plt
        warnings.simplefilter("error")
        plt.title("漢字 かな 한글 Grüße")
        plt.savefig("/tmp/a.png")
        print("drawn")
        """.replace("\n        ", "\n")
    )
    assert printed.startswith("drawn"), printed


def test_the_memory_that_is_shown_has_the_containers_limit(server: Serving) -> None:
    shown = server.get("api/metrics/v1")
    assert shown["limits"]["memory"]["rss"] == 2 << 30
    assert 0 < shown["rss"] < 2 << 30


def test_looking_at_the_memory_is_no_activity(server: Serving) -> None:
    """An open tab looks every five seconds."""
    before = server.get("api/status?no_track_activity=1")["last_activity"]
    server.get("api/metrics/v1")
    assert server.get("api/status?no_track_activity=1")["last_activity"] == before


def test_only_exports_that_work_are_offered(server: Serving) -> None:
    offered = server.get("api/nbconvert").keys()
    assert {"html", "markdown", "python", "slides"} <= offered
    # Without pandoc, TeX, Chromium and Qt.
    assert not {"asciidoc", "latex", "pdf", "qtpdf", "qtpng", "rst", "webpdf"} & offered


def test_jupyterlab_says_where_extensions_come_from(server: Serving) -> None:
    data = server.request("GET", "lab")[1]
    assert "ask your administrator to add one (notebookRequirements)" in data.replace(
        "\\u0020", " "
    )


OWN = {
    "argv": ["/home/jovyan/env/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Mine",
    "language": "python",
    "env": {
        "PYTHONPATH": "/opt/jupyter/lib/python3.13/site-packages",
        "A": "$JUPYTERHUB_API_TOKEN",
    },
    "metadata": {"kernel_provisioner": {"provisioner_name": "evil"}},
}


def test_kernels_of_the_home_are_offered_and_survive_a_restart(
    engine: docker.DockerClient,
    images: Images,
    home: str,  # noqa: F811 - the fixture
) -> None:
    volumes = [f"{home}:/home/jovyan"]
    folder = "~/.local/share/jupyter/kernels"
    with serving(engine, images.notebook, volumes) as first:
        first.shell(f"python3 -m venv --system-site-packages ~/env; mkdir -p {folder}/mine")
        first.shell(f"printf %s '{json.dumps(OWN)}' >{folder}/mine/kernel.json")
        # Without --name, this is named like the image's own.
        first.shell(f"~/env/bin/python -c 'import plotly'; cp -r {folder}/mine {folder}/python3")
        first.shell(f"mkdir {folder}/broken; echo x >{folder}/broken/kernel.json")
        # Configuration of the home stays without effect.
        first.shell("mkdir -p ~/.jupyter; echo 'raise SystemExit' >~/.jupyter/jupyter_config.py")
        names = {"python3", "mine", "python3-home"}
        assert first.get("api/kernelspecs")["kernelspecs"].keys() == names
    with serving(engine, images.notebook, volumes) as second:
        assert second.get("api/kernelspecs")["kernelspecs"].keys() == names
        printed = second.run(
            "import os, sys; print(sys.prefix, repr(os.environ['JUPYTERHUB_API_TOKEN']))",
            "print(os.environ['A'], os.environ['PATH'])",
            kernel="mine",
        )
        assert "/home/jovyan/env ''\n$JUPYTERHUB_API_TOKEN /opt/jupyter/bin:" in printed, printed
        assert printed.strip().endswith(":/bin:/home/jovyan/.local/bin")
        image = second.run("import sys; print(sys.prefix)")
        assert image.strip() == "/opt/jupyter"
        # Its folder is not served, nor is the home.
        for path in ("mine/kernel.json", "mine/.profile", "mine/../.profile"):
            assert second.request("GET", f"kernelspecs/{path}")[0] in {403, 404}, path


#: As the server's environment shows it to the server's programs.
WHERE = "import shutil; print(shutil.which('own-tool'))"


def test_the_first_package_of_a_user_is_importable_at_once(
    engine: docker.DockerClient,
    images: Images,
    home: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    wheels = tmp_path_factory.mktemp("wheels")
    wheel(wheels, "greeting", "text = 'installed by a user'\n")
    wheels.chmod(0o755)
    volumes = [f"{home}:/home/jovyan", f"{wheels}:/wheels:ro"]
    with serving(engine, images.notebook, volumes) as server:
        printed = server.run(
            "%pip install --quiet --no-index --find-links /wheels greeting",
            "import greeting; print(greeting.text)",
            "!mkdir -p ~/.local/bin; printf '#!/bin/sh\\n' >~/.local/bin/own-tool;"
            " chmod +x ~/.local/bin/own-tool",
            WHERE,
            "%pip install --no-index --find-links /wheels nowhere",
        )
        assert "installed by a user\n/home/jovyan/.local/bin/own-tool\n" in printed
        assert "No matching distribution found" in printed
        assert "compiler" not in printed
        assert server.shell("sh -lc 'echo $PATH'").strip().endswith(":/home/jovyan/.local/bin")


def test_pip_names_the_way_where_a_compiler_or_jupyterlab_is_needed(
    engine: docker.DockerClient, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packages = tmp_path_factory.mktemp("packages")
    source = packages / "needs-cc"
    source.mkdir()
    backend = """
        import os, zipfile
        def build_wheel(folder, *_):
            raise SystemExit("error: command 'cc' failed: No such file or directory")
        """
    (source / "backend.py").write_text(textwrap.dedent(backend))
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "needs-cc"\nversion = "1"\n'
    )
    wheel(
        packages,
        "front",
        "",
        {"front-1.0.data/data/share/jupyter/labextensions/x/package.json": "{}"},
    )
    packages.chmod(0o755)
    printed = run(
        engine,
        images.notebook,
        "sh",
        "-c",
        "cp -r /packages/needs-cc /tmp; pip install --no-index /tmp/needs-cc;"
        " pip install --no-index --find-links /packages front",
        volumes=[f"{packages}:/packages:ro"],
    )
    assert "this image has no\ncompiler" in printed, printed
    assert "notebookRequirements" in printed
    assert "x: this has a part for the pages of JupyterLab" in printed
