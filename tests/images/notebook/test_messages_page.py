"""JupyterLab's extension that shows the operators' messages, run by Node with a page of the test's.

That JupyterLab loads it, and shows what it asks for, is in tests/engine/browser/test_messages.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from toolchain.places import ROOT

pytestmark = pytest.mark.slow

SCRIPT = ROOT / (
    "images/notebook/rootfs/opt/jupyter/share/jupyter/labextensions/zhub-messages/static/messages.js"
)

#: A page: `said` is what the server answers, `shown` the notices by their ids, `kept` what the
#: browser keeps. `later()` is the page's next question, and `opened()` another page.
PAGE = """
const fs = require("node:fs");
const source = fs.readFileSync(process.argv[2], "utf8");
const kept = {};
const dialogs = [];
const tick = () => new Promise((done) => setImmediate(done));
let said = [];
let status = 200;
let broken = false;

async function opened() {
  const shown = {};
  const commands = {};
  const asked = [];
  let next = null;
  let count = 0;
  const known = {
    "apputils:notify": (notice) => ((shown[`n${++count}`] = notice), `n${count}`),
    "apputils:dismiss-notification": ({ id }) => delete shown[id],
  };
  const window = { localStorage: {
    getItem: (key) => { if (broken) throw new Error("no"); return kept[key] ?? null; },
    setItem: (key, text) => { if (broken) throw new Error("no"); kept[key] = text; },
  } };
  const document = { cookie: "a=b; _xsrf=token" };
  const fetch = async (url, options) => {
    asked.push([url, options.headers["X-XSRFToken"]]);
    return { ok: status === 200, json: async () => ({ messages: said }) };
  };
  const app = {
    serviceManager: { serverSettings: { baseUrl: "/user/alice/", fetch } },
    restored: Promise.resolve(),
    commands: {
      execute: async (name, given) => known[name](given),
      addCommand: (name, { execute }) => (commands[name] = execute),
    },
  };
  const setTimeout = (call, wait) => ((next = call), asked.push(wait));
  new Function("window", "document", "setTimeout", source)(window, document, setTimeout);
  const extension = window._JUPYTERLAB["zhub-messages"];
  const apputils = {
    Dialog: { okButton: (button) => button },
    showDialog: async (dialog) => dialogs.push(dialog.body),
  };
  extension.init({ "@jupyterlab/apputils": { "1": { get: async () => () => apputils } } });
  (await extension.get())().default.activate(app);
  await tick();
  const texts = () => Object.values(shown).map((notice) => notice.message);
  const later = async () => (await next(), texts());
  const click = async (text) => {
    const [id, notice] = Object.entries(shown).find(([, each]) => each.message === text);
    const [action] = notice.options.actions;
    await commands[action.commandId](action.args);
    delete shown[id];
    return action.label;
  };
  return { asked, shown, texts, later, click };
}
"""


def run(steps: str) -> Any:
    """Run steps in the page's script; returns what they return."""
    node = shutil.which("node")
    if not node:
        pytest.skip("no node: apt-get install nodejs")
    script = f"{PAGE}(async () => {{{steps}}})().then((r) => console.log(JSON.stringify(r)));"
    done = subprocess.run(
        [node, "-", str(SCRIPT)],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_message_comes_and_goes_while_the_page_is_open() -> None:
    first, second, third, twice, asked = run(
        """
        const page = await opened();
        const first = page.texts();
        said = [{ id: "alice:1", text: "<b>Hello</b>" }];
        const second = await page.later();
        const third = await page.later();
        said = [{ id: "alice:2", text: "Other" }];
        const changed = await page.later();
        said = [];
        return [first, second, third, [changed, await page.later()], page.asked.slice(0, 2)];
        """
    )
    assert first == []
    assert second == third == ["<b>Hello</b>"], "as text, and once"
    assert twice == [["Other"], []]
    assert asked == [["/user/alice/zhub/messages", "token"], 40000]


def test_what_was_dismissed_does_not_come_back_in_any_page() -> None:
    labels, texts, others, kept = run(
        """
        said = [{ id: "alice:1", text: "One" }, { id: "alice:2", text: "Two" }];
        const [page, beside] = [await opened(), await opened()];
        const label = await page.click("One");
        const texts = [await page.later(), await beside.later()];
        return [[label], texts, (await opened()).texts(), kept];
        """
    )
    assert labels == ["Dismiss"]
    assert texts == [["Two"], ["Two"]]
    assert others == ["Two"]
    assert kept == {"zhub-messages": '["alice:1"]'}


def test_all_of_a_long_message_can_be_read() -> None:
    """JupyterLab shows 140 characters of a notice."""
    label, dialogs, left = run(
        """
        const text = "x".repeat(141);
        said = [{ id: "alice:1", text }];
        const page = await opened();
        return [await page.click(text), dialogs, await page.later()];
        """
    )
    assert label == "Read all"
    assert dialogs == ["x" * 141]
    assert left == []


def test_what_somebody_else_has_kept_there_hides_nothing() -> None:
    """Where servers have no host names of their own, their pages share what the browser keeps."""
    assert (
        run(
            """
        said = [{ id: "alice:1", text: "One" }];
        const texts = [];
        for (const other of ["5", "{broken", '"alice:1"', "null"]) {
          kept["zhub-messages"] = other;
          texts.push((await opened()).texts());
        }
        return texts;
        """
        )
        == [["One"]] * 4
    )


def test_a_browser_that_keeps_nothing_dismisses_for_the_page() -> None:
    assert run(
        """
        broken = true;
        said = [{ id: "alice:1", text: "One" }];
        const page = await opened();
        await page.click("One");
        return [await page.later(), (await opened()).texts()];
        """
    ) == [[], ["One"]]


def test_while_the_hub_does_not_answer_nothing_changes() -> None:
    assert (
        run(
            """
            said = [{ id: "alice:1", text: "One" }];
            const page = await opened();
            said = null;
            const silent = await page.later();
            status = 502;
            return [silent, await page.later()];
            """
        )
        == [["One"]] * 2
    )
