// The process that owns the published port: configurable-http-proxy, with what its command line has
// no options for. Takes its options as one argument in JSON, as zhub/proxy.py writes them, and the
// token that its API demands from the environment.
import { readFileSync } from "node:fs";

import { ConfigurableProxy } from "configurable-http-proxy";

import { callers, speakFor } from "./forwarded.mjs";

// Mozilla's "intermediate" list. Without any of TLS 1.3 in it, Node would switch TLS 1.3 off.
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
];

const REFUSAL = "This port speaks HTTPS only: put https:// in front of the address.\n";

const told = JSON.parse(process.argv[2]);

const caller = callers(told.trustedProxies ?? []);

// In every answer, whoever answers: a user's server must not speak for the others on this name.
const ALWAYS = {
  "x-content-type-options": "nosniff",
  "strict-transport-security": told.hstsSeconds ? `max-age=${told.hstsSeconds}` : undefined,
};

// In answers that say nothing of it themselves; hub and JupyterLab have a policy of their own.
const DEFAULT = {
  "referrer-policy": "same-origin",
  "content-security-policy": "frame-ancestors 'self'",
};

const proxy = new ConfigurableProxy({
  authToken: process.env.CONFIGPROXY_AUTH_TOKEN,
  defaultTarget: told.hub,
  errorTarget: told.errors,
  hostRouting: told.hostRouting,
  // speakFor does that.
  xfwd: false,
  ssl: {
    key: readFileSync(told.key),
    cert: readFileSync(told.certificate),
    minVersion: "TLSv1.2",
    ciphers: CIPHERS.join(":"),
    honorCipherOrder: true,
  },
});

// What hub and JupyterLab leave to the browser's default, which is not the same everywhere.
function harden(cookie) {
  const attributes = cookie.toLowerCase().split(/\s*;\s*/).slice(1);
  const secure = attributes.includes("secure") ? "" : "; Secure";
  const site = attributes.some((one) => one.startsWith("samesite=")) ? "" : "; SameSite=Lax";
  return cookie + secure + site;
}

// Makes the answer of a hub or server one that may leave the proxy.
function correct(answer) {
  for (const [name, value] of Object.entries(ALWAYS)) {
    if (value) {
      answer.headers[name] = value;
    } else {
      delete answer.headers[name];
    }
  }
  if (answer.headers["set-cookie"]) {
    answer.headers["set-cookie"] = answer.headers["set-cookie"].map(harden);
  }
}

proxy.proxyServer.prependListener("request", (request, response) => {
  speakFor(request, caller, "https");
  for (const [name, value] of Object.entries({ ...DEFAULT, ...ALWAYS })) {
    if (value) {
      response.setHeader(name, value);
    }
  }
});
proxy.proxy.on("proxyRes", correct);

proxy.proxyServer.prependListener("upgrade", (request) => speakFor(request, caller, "wss"));
proxy.proxy.on("proxyReqWs", (request) => {
  request.prependListener("upgrade", correct);
  request.prependListener("response", correct);
});

// Plain HTTP on this port; otherwise the browser would only say that the connection broke. Node has
// no documented way to the connection under the TLS that failed.
proxy.proxyServer.on("tlsClientError", (error, socket) => {
  if (error.code === "ERR_SSL_HTTP_REQUEST") {
    socket._parent?.end(
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n" +
        `Content-Length: ${REFUSAL.length}\r\n\r\n${REFUSAL}`,
    );
  }
});

for (const number of ["SIGINT", "SIGTERM"]) {
  process.on(number, () => process.exit());
}
// One odd connection must not end everybody's; as in configurable-http-proxy's own command.
process.on("uncaughtException", (error) => proxy.log.error(error.stack));
for (const server of [proxy.apiServer, proxy.proxyServer]) {
  server.on("error", (error) => {
    proxy.log.error(error.message);
    process.exit(1);
  });
}

proxy.apiServer.listen(told.apiPort, "127.0.0.1");
proxy.proxyServer.listen(told.port);
