// An extension of JupyterLab: says so when the user's login has ended, and leads to the login page.
//
// JupyterLab itself only gets answers of status 403. The page stays as it is, because it may hold what
// is not saved; the login is in a tab of its own, and afterwards this page goes on.
//
// Written by hand in the form that JupyterLab loads: an object with `init` and `get`, as webpack's
// module federation makes it, so that nothing has to be built.
"use strict";

(() => {
  const COMMAND = "zhub-login:log-in";
  const MESSAGE = "Your login has ended. Log in again to go on; nothing in this page is lost.";

  /** Milliseconds between two looks at the tab with the login page. */
  const OFTEN = 300;

  function activate(app) {
    const settings = app.serviceManager.serverSettings;
    const ask = settings.fetch;
    let notice = null; // what has been said, until the user is logged in again
    let checking = false;

    /** Whether the server takes the browser's cookie, which a login in any tab renews. */
    async function loggedIn() {
      const token = document.cookie.match("\\b_xsrf=([^;]*)\\b");
      const headers = { "X-XSRFToken": token ? token[1] : "" };
      const answer = await fetch(`${settings.baseUrl}api/me`, { headers, cache: "no-store" });
      return answer.status !== 403;
    }

    /** Say that the login has ended, or take it back. */
    async function check() {
      if (checking) {
        return;
      }
      checking = true;
      try {
        const fine = await loggedIn();
        if (fine && notice !== null) {
          const id = notice;
          notice = null;
          await app.commands.execute("apputils:dismiss-notification", { id });
        } else if (!fine && notice === null) {
          const actions = [{ label: "Log in", commandId: COMMAND, displayType: "accent" }];
          notice = await app.commands.execute("apputils:notify", {
            message: MESSAGE,
            type: "error",
            options: { autoClose: false, actions },
          });
        }
      } finally {
        checking = false;
      }
    }

    /** Open the login page, which leads back to the server, and close it then. */
    function logIn() {
      const page = `${settings.baseUrl}lab`;
      const tab = window.open(page);
      if (!tab) {
        window.location.reload(); // the browser opens no tabs for pages
        return;
      }
      const watch = setInterval(async () => {
        if (!tab.closed && !(await loggedIn())) {
          return;
        }
        if (!tab.closed) {
          try {
            if (!tab.location.href.startsWith(page)) {
              return; // not yet behind the login
            }
          } catch {
            return; // on the hub's own host, where servers have others
          }
          tab.close();
        }
        clearInterval(watch);
        await check();
      }, OFTEN);
    }

    app.commands.addCommand(COMMAND, { label: "Log In Again", execute: logIn });
    settings.fetch = async (...request) => {
      const answer = await ask(...request);
      if (answer.status === 403 || notice !== null) {
        check().catch(console.warn);
      }
      return answer;
    };
  }

  const plugin = { id: "zhub-login:plugin", autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["zhub-login"] = {
    init: () => undefined,
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
