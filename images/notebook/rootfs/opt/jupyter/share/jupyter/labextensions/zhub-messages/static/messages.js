// An extension of JupyterLab: shows what the hub's operators say to the user, until the user dismisses it
// or the operators take it back.
//
// JupyterLab shows notices as text, never as HTML, and no more than 140 characters of them; the rest is
// in a dialog.
//
// Written by hand in the form that JupyterLab loads: an object with `init` and `get`, as webpack's
// module federation makes it, so that nothing has to be built.
"use strict";

(() => {
  const COMMAND = "zhub-messages:dismiss";

  /** Where the browser keeps what was dismissed; the hub's pages do so, too (page.html). */
  const KEY = "zhub-messages";

  /** Milliseconds between two questions to the server, which asks the hub. */
  const OFTEN = 40000;

  /** Characters of a notice that JupyterLab shows. */
  const SHOWN = 140;

  /** Dismissed messages that the browser remembers. */
  const REMEMBERED = 100;

  let shared = {};

  /** A module that JupyterLab shares with its extensions. */
  async function module(name) {
    const [version] = Object.values(shared[name]);
    return (await version.get())();
  }

  function dismissed() {
    try {
      const kept = JSON.parse(window.localStorage.getItem(KEY));
      return Array.isArray(kept) ? kept : [];
    } catch {
      return []; // the browser does not let pages keep anything
    }
  }

  function activate(app) {
    const settings = app.serviceManager.serverSettings;
    const notices = new Map(); // JupyterLab's ids of the notices that are shown, by the messages' ids
    const gone = new Set(); // what was dismissed in this page, whatever the browser keeps

    async function takeBack(id) {
      const notice = notices.get(id);
      notices.delete(id);
      await app.commands.execute("apputils:dismiss-notification", { id: notice });
    }

    /** Dismiss a message for good; show all of a long one before. */
    async function dismiss({ id, text }) {
      if (text.length > SHOWN) {
        const { Dialog, showDialog } = await module("@jupyterlab/apputils");
        const buttons = [Dialog.okButton({ label: "Dismiss" })];
        await showDialog({ title: "Message from the hub", body: text, buttons });
      }
      gone.add(id);
      try {
        const all = [...dismissed(), id].slice(-REMEMBERED);
        window.localStorage.setItem(KEY, JSON.stringify(all));
      } catch {
        // the next page shows it again
      }
      if (notices.has(id)) {
        await takeBack(id);
      }
    }

    async function show(message) {
      const label = message.text.length > SHOWN ? "Read all" : "Dismiss";
      const actions = [{ label, commandId: COMMAND, args: message, displayType: "accent" }];
      const notice = await app.commands.execute("apputils:notify", {
        message: message.text,
        type: "warning",
        options: { autoClose: false, actions },
      });
      notices.set(message.id, notice);
    }

    /** Ask the server; show what is new, and take back what is not said any more. */
    async function look() {
      const token = document.cookie.match("\\b_xsrf=([^;]*)\\b");
      const headers = { "X-XSRFToken": token ? token[1] : "" };
      const options = { headers, cache: "no-store" };
      const answer = await settings.fetch(`${settings.baseUrl}zhub/messages`, options);
      if (!answer.ok) {
        return;
      }
      const { messages } = await answer.json();
      if (messages === null) {
        return; // the hub did not answer
      }
      const before = dismissed();
      const wanted = messages.filter(({ id }) => !gone.has(id) && !before.includes(id));
      for (const id of [...notices.keys()]) {
        if (!wanted.some((message) => message.id === id)) {
          await takeBack(id);
        }
      }
      for (const message of wanted) {
        if (!notices.has(message.id)) {
          await show(message);
        }
      }
    }

    async function keep() {
      try {
        await look();
      } catch (error) {
        console.debug("the hub's messages are not known", error); // the server is away
      }
      setTimeout(keep, OFTEN);
    }

    app.commands.addCommand(COMMAND, { label: "Dismiss a Message of the Hub", execute: dismiss });
    app.restored.then(keep);
  }

  const plugin = { id: "zhub-messages:plugin", autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["zhub-messages"] = {
    init: (scope) => {
      shared = scope;
    },
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
