// An extension of JupyterLab: shows in the status bar how much of the home's limit is taken, and warns
// when the home is nearly full, or full. In a stack without a limit it does nothing.
//
// Written by hand in the form that JupyterLab loads: an object with `init` and `get`, as webpack's
// module federation makes it, so that nothing has to be built.
"use strict";

(() => {
  const GIB = 2 ** 30;

  /** Milliseconds between two questions to the server, which counts more seldom. */
  const OFTEN = 60000;

  /** The same until the server has counted for the first time. */
  const FIRST = 2000;

  const HOW = "Delete what you do not need, also in the trash (~/.local/share/Trash).";

  let shared = {};

  /** A module that JupyterLab shares with its extensions. */
  async function module(name) {
    const [version] = Object.values(shared[name]);
    return (await version.get())();
  }

  function activate(app, statusBar, Widget) {
    const settings = app.serviceManager.serverSettings;
    const item = new Widget();
    item.addClass("jp-StatusBar-TextItem");
    item.node.title = "What your home takes on the disk, and what it should not have more than";
    let said = ""; // the kind of notice that is shown
    let notice = null;

    /** Show a notice of this kind instead of the one that is shown, or take that back. */
    async function say(kind, message) {
      if (kind === said) {
        return;
      }
      said = kind;
      if (notice !== null) {
        await app.commands.execute("apputils:dismiss-notification", { id: notice });
        notice = null;
      }
      if (kind) {
        const options = { autoClose: false };
        notice = await app.commands.execute("apputils:notify", { message, type: kind, options });
      }
    }

    /** Ask the server, show what it says; returns when to ask again, in milliseconds. */
    async function look() {
      const token = document.cookie.match("\\b_xsrf=([^;]*)\\b");
      const headers = { "X-XSRFToken": token ? token[1] : "" };
      const options = { headers, cache: "no-store" };
      const answer = await settings.fetch(`${settings.baseUrl}zhub/home`, options);
      if (!answer.ok) {
        return OFTEN;
      }
      const { taken, limit, nearly } = await answer.json();
      if (taken === null) {
        return FIRST;
      }
      const size = `${(taken / GIB).toFixed(1)} of ${(limit / GIB).toFixed(1)} GiB`;
      item.node.textContent = `Home: ${size}`;
      if (taken >= limit) {
        await say("error", `Your home is full: ${size}. ${HOW} Your administrator is told.`);
      } else if (100 * taken >= nearly * limit) {
        await say("warning", `Your home is nearly full: ${size}. ${HOW}`);
      } else {
        await say("", "");
      }
      return OFTEN;
    }

    async function keep() {
      let wait = OFTEN;
      try {
        wait = await look();
      } catch (error) {
        console.debug("the size of the home is not known", error); // the server is away
      }
      setTimeout(keep, wait);
    }

    statusBar?.registerStatusItem("zhub-home:size", { item, align: "left", rank: 5 });
    app.restored.then(keep);
  }

  async function plugin() {
    const data = document.getElementById("jupyter-config-data");
    if (!data || !JSON.parse(data.textContent).zhubHomeLimit) {
      return [];
    }
    const { IStatusBar } = await module("@jupyterlab/statusbar");
    const { Widget } = await module("@lumino/widgets");
    return {
      id: "zhub-home:plugin",
      autoStart: true,
      optional: [IStatusBar],
      activate: (app, statusBar) => activate(app, statusBar, Widget),
    };
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["zhub-home"] = {
    init: (scope) => {
      shared = scope;
    },
    get: async () => {
      const found = await plugin();
      return () => ({ __esModule: true, default: found });
    },
  };
})();
