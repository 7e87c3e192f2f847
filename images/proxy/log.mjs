// The proxy's log. configurable-http-proxy's own has colours, wherever it goes.
import { format } from "node:util";

// Secrets in addresses, as in zhub/logs.py.
const NAMES = "token|auth|key|code|state|_xsrf|password";
const PARAMETER = new RegExp(
  `((?:[?&]|%(?:25)*(?:3F|26))(?:(?!${NAMES})[^=?&\\s%])*(?:${NAMES})[^=?&\\s%]*(?:=|%(?:25)*3D))` +
    "(?:(?!%(?:25)*26)[^&\\s'\"])+",
  "gi",
);

const LEVELS = ["debug", "info", "warning", "error"];

// What a connection says that has ended at its other side.
const ENDED = new Set(["ECONNABORTED", "ECONNRESET", "EPIPE", "ETIMEDOUT"]);

// Return what to log of an error that nobody expected: where in Node's own code a connection ended
// says nothing.
export function saying(error) {
  return ENDED.has(error?.code) ? error.message : (error?.stack ?? String(error));
}

// Return a logger of lines of text or, with the format "json", of objects as zhub/logs.py writes them.
export function logger(level, form, write = (line) => process.stdout.write(line)) {
  const least = Math.max(LEVELS.indexOf(level), 0);
  const log = (name) => {
    if (LEVELS.indexOf(name) < least) {
      return () => {};
    }
    return (...words) => {
      const time = new Date().toISOString();
      const message = format(...words).replace(PARAMETER, "$1[secret]");
      const line = { time: time.replace("Z", "+00:00"), level: name, logger: "proxy", message };
      write(form === "json" ? `${JSON.stringify(line)}\n` : `${time} [proxy] ${name}: ${message}\n`);
    };
  };
  return { debug: log("debug"), info: log("info"), warn: log("warning"), error: log("error") };
}
