// The process that owns the published port: configurable-http-proxy, with what its command line has
// no options for. Takes its options as one argument in JSON, as zhub/front/proxy.py writes them, and the
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

// What acts on all of an origin, or of a host, and not on the page it comes with: not for users'
// servers, which share theirs with the hub. Browsers ask for passwords in the hub's name, too.
const WHOLE_ORIGIN = [
  "accept-ch",
  "alt-svc",
  "clear-site-data",
  "critical-ch",
  "expect-ct",
  "nel",
  "origin-agent-cluster",
  "proxy-authenticate",
  "public-key-pins",
  "public-key-pins-report-only",
  "report-to",
  "reporting-endpoints",
  "secure-session-registration",
  "service-worker-allowed",
  "set-login",
  "speculation-rules",
  "use-as-dictionary",
  "www-authenticate",
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

// Where a request goes to, kept with it: answers are judged by who gives them.
const find = proxy.targetForReq;
proxy.targetForReq = async function (request) {
  request.route = await find.call(this, request);
  return request.route;
};

// Whether a user's server answers, and not the hub. What is neither counts as a user's.
function isUsers(request) {
  return new URL(request.route.target).origin !== new URL(told.hub).origin;
}

// The segments of a path, or null where browsers and proxy could read it differently.
function segments(path) {
  try {
    return path.split("/").slice(1).map(decodeURIComponent);
  } catch {
    return null;
  }
}

// Whether a cookie of a user's server stays with it: RFC 6265, 5.2, is how browsers read it.
function staysBelow(route, cookie) {
  const attributes = cookie
    .split(";")
    .slice(1)
    .map((one) => one.split("="))
    .map(([name, ...value]) => [name, value.join("=")].map((text) => text.replace(/^[ \t]+|[ \t]+$/g, "")));
  const given = (wanted) => attributes.filter(([name]) => name.toLowerCase() === wanted);
  const paths = given("path").map(([, value]) => value);
  // Without a path of its own it would get that of the request, less what follows the last slash.
  if (given("domain").length || paths.length !== 1 || !paths[0].startsWith("/")) {
    return false;
  }
  if (told.hostRouting) {
    // All of the host is the user's.
    return true;
  }
  const below = segments(paths[0]);
  return below !== null && segments(route).every((segment, at) => segment === below[at]);
}

// Leaves of a user's server's answer only what is about that server.
function confine(route, headers) {
  for (const name of WHOLE_ORIGIN) {
    delete headers[name];
  }
  const cookies = (headers["set-cookie"] ?? []).filter((cookie) => staysBelow(route, cookie));
  if (cookies.length) {
    headers["set-cookie"] = cookies;
  } else {
    delete headers["set-cookie"];
  }
}

// What hub and JupyterLab leave to the browser's default, which is not the same everywhere.
function harden(cookie) {
  const attributes = cookie.toLowerCase().split(/\s*;\s*/).slice(1);
  const secure = attributes.includes("secure") ? "" : "; Secure";
  const site = attributes.some((one) => one.startsWith("samesite=")) ? "" : "; SameSite=Lax";
  return cookie + secure + site;
}

// Makes the answer of a hub or server one that may leave the proxy.
function correct(answer, request) {
  if (isUsers(request)) {
    confine(request.route.prefix, answer.headers);
  }
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
proxy.proxy.on("proxyReqWs", (onward, request) => {
  onward.prependListener("upgrade", (answer) => correct(answer, request));
  onward.prependListener("response", (answer) => correct(answer, request));
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
// Each takes memory before it has said anything: with enough of them, all of the hub's.
proxy.proxyServer.maxConnections = told.mostConnections;
proxy.proxyServer.listen(told.port);
