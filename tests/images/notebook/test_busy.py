"""Whether a kernel works is known also while its page asks it something beside."""

from __future__ import annotations

import json
from typing import Any

import docker
import pytest

from tests.images.notebook.serving import Serving, serving
from tests.images.notebook.test_packages import FEW, built, native

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

#: In a new kernel, runs a cell, or none, and meanwhile what the arguments name: asks for the memory
#: in use, as JupyterLab's panel does, moves a widget, in a subshell as JupyterLab does, restarts
#: the kernel, or closes the page and waits. Prints the kernel as the server describes it, before
#: and after.
BESIDE = """
import asyncio, json, sys, uuid
from tornado import httpclient, websocket
KERNELS, TOKEN = "127.0.0.1:8888/user/alice/api/kernels", {"Authorization": "token x"}
ASK = {"headers": TOKEN, "request_timeout": 240}
code, *requests = sys.argv[1:]
async def call(path="", **more):
    answer = await httpclient.AsyncHTTPClient().fetch(f"http://{KERNELS}{path}", **ASK, **more)
    return json.loads(answer.body)
async def run():
    id = (await call(method="POST", body="{}"))["id"]
    channels = httpclient.HTTPRequest(f"ws://{KERNELS}/{id}/channels", **ASK)
    page = await websocket.websocket_connect(channels)
    async def send(kind, content, channel="shell", **more):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "username": "", "session": "s",
                  "version": "5.4", "date": "", **more}
        await page.write_message(json.dumps(
            {"header": header, "parent_header": {}, "metadata": {}, "channel": channel,
             "content": content, "buffers": []}))
        return header["msg_id"]
    async def until(asked, kind, state=""):
        while True:
            message = json.loads(await page.read_message())
            if message["parent_header"].get("msg_id") == asked and message["msg_type"] == kind:
                if message["content"].get("execution_state", "") == state:
                    return message["content"]
    async def done(asked):
        return await until(asked, "status", "idle")
    await done(await send("kernel_info_request", {}))
    target = ("import time; get_ipython().kernel.comm_manager.register_target("
              "'moved', lambda comm, message: None)")
    await done(await send("execute_request", {"code": target, "silent": False}))
    if code:
        asked = await send("execute_request", {"code": code, "silent": False})
        await until(asked, "status", "busy")
    await asyncio.sleep(0.2)
    found = [await call(f"/{id}")]
    for request in requests:
        if request == "usage":
            await done(await send("usage_request", {}, "control"))
        elif request == "widget":
            made = await send("create_subshell_request", {}, "control")
            shell = (await until(made, "create_subshell_reply"))["subshell_id"]
            content = {"comm_id": "c", "target_name": "moved", "data": {}}
            await done(await send("comm_open", content, subshell_id=shell))
        elif request == "restart":
            await call(f"/{id}/restart", method="POST", body="{}")
        elif request == "leave":
            page.close()
            await asyncio.sleep(8)
    await asyncio.sleep(1)
    found.append(await call(f"/{id}"))
    print(json.dumps(found))
    page.close()
    await httpclient.AsyncHTTPClient().fetch(f"http://{KERNELS}/{id}", method="DELETE", **ASK)
asyncio.run(asyncio.wait_for(run(), 240))
"""


def found(server: Serving, code: str, *requests: str) -> list[dict[str, Any]]:
    """Return a kernel as it was before and after requests beside a cell."""
    kernels: list[dict[str, Any]] = json.loads(server.python(BESIDE, code, *requests))
    return kernels


def states(server: Serving, code: str, *requests: str) -> list[str]:
    """Return its states."""
    return [one["execution_state"] for one in found(server, code, *requests)]


def test_what_a_page_asks_beside_ends_no_work_and_is_no_use(
    engine: docker.DockerClient,
) -> None:
    with serving(engine, built(engine, "few", *FEW), [], native(engine)) as server:
        silent = "time.sleep(30)"
        assert states(server, silent, "usage") == ["busy", "busy"]
        assert states(server, silent, "widget") == ["busy", "busy"]
        assert states(server, "", "widget") == ["idle", "idle"]
        before, after = found(server, "", "usage")
        assert before["last_activity"] == after["last_activity"], "a panel asks every five seconds"
        assert states(server, silent, "restart")[1] != "busy"
        end = "import os; time.sleep(3); os._exit(1)"
        assert states(server, end, "leave") == ["busy", "starting"], "it was started again"
