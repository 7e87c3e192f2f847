"""What a cell prints while no page is open: the user is told, and the server does not keep all."""

from __future__ import annotations

import json

import docker
import pytest

from tests.images.notebook.serving import Serving, serving
from tests.images.notebook.test_packages import FEW, built, native

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

#: Runs code in a notebook's kernel, leaves at once, comes back as the same page or another one when
#: the kernel has done all of it, and prints what the server then says to the user. With "beside",
#: another page is open all the time; with "visitor", it is that page that leaves.
LEAVE = """
import asyncio, json, sys
from tornado import httpclient, websocket
SERVER, TOKEN = "127.0.0.1:8888/user/alice/", {"Authorization": "token x"}
ASK = {"headers": TOKEN, "request_timeout": 240}
code, again = sys.argv[1:]
async def get(path, **more):
    answer = await httpclient.AsyncHTTPClient().fetch(f"http://{SERVER}{path}", **ASK, **more)
    return json.loads(answer.body)
async def page(kernel, session):
    at = f"ws://{SERVER}api/kernels/{kernel}/channels?session_id={session}"
    return await websocket.websocket_connect(httpclient.HTTPRequest(at, **ASK))
async def until(kernel, state):
    while (await get(f"api/kernels/{kernel}"))["execution_state"] != state:
        await asyncio.sleep(0.1)
async def run():
    body = json.dumps(
        {"path": "a.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}})
    kernel = (await get("api/sessions", method="POST", body=body))["kernel"]["id"]
    first = await page(kernel, "one")
    await until(kernel, "idle")
    other = await page(kernel, "other") if again in ("beside", "visitor") else None
    header = {"msg_id": "m", "msg_type": "execute_request", "username": "", "session": "one",
              "version": "5.3", "date": ""}
    await first.write_message(json.dumps(
        {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell",
         "content": {"code": "import time; time.sleep(2)\\n" + code, "silent": False},
         "buffers": []}))
    await until(kernel, "busy")
    (other if again == "visitor" else first).close()
    await until(kernel, "idle")
    second = await page(kernel, "one" if again == "same" else "two")
    await asyncio.sleep(1)
    print(json.dumps((await get("zhub/messages"))["messages"]))
    second.close()
    await httpclient.AsyncHTTPClient().fetch(
        f"http://{SERVER}api/kernels/{kernel}", method="DELETE", **ASK)
asyncio.run(asyncio.wait_for(run(), 240))
"""

#: The most memory that the server itself had so far, in MiB.
MEMORY = """
import pathlib
sizes = []
for file in pathlib.Path("/proc").glob("[0-9]*/status"):
    try:
        text = file.read_text()
        server = b"zsingleuser" in (file.parent / "cmdline").read_bytes()
    except OSError:
        continue  # ended meanwhile
    if server and "VmHWM" in text:
        sizes.append(int(text.partition("VmHWM:")[2].split()[0]) >> 10)
print(max(sizes))
"""


def test_who_comes_back_is_told_what_is_lost(engine: docker.DockerClient) -> None:
    image = built(engine, "few", *FEW)
    activity = "http://hub:8081/hub/api/users/alice/activity"
    with serving(engine, image, [], native(engine), JUPYTERHUB_ACTIVITY_URL=activity) as server:

        def told(code: str, again: str = "another") -> str:
            said = json.loads(server.python(LEAVE, code, again))
            return said[0]["text"] if said else ""

        assert told("pass") == ""
        assert told("print('seen by nobody')", "same") == "", "that page gets it"
        lost = (
            "a.ipynb: a cell ran while the page was closed, and what it has printed since is lost."
        )
        assert told("print('seen by nobody')").startswith(lost)
        assert told("pass", "beside").startswith(lost)
        assert told("pass", "visitor") == "", "the page that has run it is there"
        before = memory(server)
        much = "for _ in range(150): print('x' * 1_000_000, flush=True); time.sleep(0.02)"
        assert told(much, "same").startswith(lost)
        assert memory(server) < before + 75, "150 MB were printed"


def memory(server: Serving) -> int:
    return int(server.python(MEMORY))
