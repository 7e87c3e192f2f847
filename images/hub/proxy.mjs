// The process that owns the published port: configurable-http-proxy, with settings that its command
// line has no options for. Takes its options as one argument in JSON, as zhub/front/proxy.py writes
// them, and the token of its API from the environment.
import { readFileSync } from "node:fs";

import { ConfigurableProxy } from "configurable-http-proxy";

import { Connecting } from "./connecting.mjs";
import { callers, speakFor } from "./forwarded.mjs";

// Mozilla's "intermediate" list. Without a TLS 1.3 cipher in it, Node would turn TLS 1.3 off.
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

// Headers that affect a whole origin or host, and not only their own page: forbidden for users'
// servers, which share origin or domain with the hub. With the authentication headers, browsers
// would ask for passwords in the hub's name.
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

const options = JSON.parse(process.argv[2]);

const caller = callers(options.trustedProxies ?? []);

// Set in every answer, overriding a user's server, which must not decide for others on this host.
const ALWAYS = {
  "x-content-type-options": "nosniff",
  "strict-transport-security": options.hstsSeconds ? `max-age=${options.hstsSeconds}` : undefined,
};

// Set in answers that do not set these headers themselves, as hub and JupyterLab do.
const DEFAULT = {
  "referrer-policy": "same-origin",
  "content-security-policy": "frame-ancestors 'self'",
};

const proxy = new ConfigurableProxy({
  authToken: process.env.CONFIGPROXY_AUTH_TOKEN,
  defaultTarget: options.hub,
  errorTarget: options.errors,
  hostRouting: options.hostRouting,
  // speakFor sets these headers.
  xfwd: false,
  ssl: {
    key: readFileSync(options.key),
    cert: readFileSync(options.certificate),
    minVersion: "TLSv1.2",
    ciphers: CIPHERS.join(":"),
    honorCipherOrder: true,
  },
});

// Keep a request's route with it: the rules for an answer depend on who gives it.
const find = proxy.targetForReq;
proxy.targetForReq = async function (request) {
  request.route = await find.call(this, request);
  return request.route;
};

// Return whether a target is a user's server: anything but the hub.
function isServer(target) {
  return new URL(target).origin !== new URL(options.hub).origin;
}

// Return whether the answer comes from a user's server.
function isUsers(request) {
  return isServer(request.route.target);
}

// Milliseconds that a user's server has to accept a connection. It is on the same machine, so it
// takes less than one, unless its network or its container is broken.
const servers = new Connecting(8000);
const onward = proxy.proxyOptsForTarget;
proxy.proxyOptsForTarget = function (target) {
  const found = onward.call(this, target);
  return isServer(target) ? { ...found, agent: servers } : found;
};

// Return the segments of a path, or null if browsers and proxy could read it differently.
function segments(path) {
  try {
    return path.split("/").slice(1).map(decodeURIComponent);
  } catch {
    return null;
  }
}

// Return whether browsers send a cookie of a user's server only to that server. Parses it as they
// do: RFC 6265, 5.2.
function staysBelow(route, cookie) {
  const attributes = cookie
    .split(";")
    .slice(1)
    .map((one) => one.split("="))
    .map(([name, ...value]) => [name, value.join("=")].map((text) => text.replace(/^[ \t]+|[ \t]+$/g, "")));
  const given = (wanted) => attributes.filter(([name]) => name.toLowerCase() === wanted);
  const paths = given("path").map(([, value]) => value);
  // Without a Path, it would get the path of the request, up to the last slash.
  if (given("domain").length || paths.length !== 1 || !paths[0].startsWith("/")) {
    return false;
  }
  if (options.hostRouting) {
    // The whole host belongs to the user.
    return true;
  }
  const below = segments(paths[0]);
  return below !== null && segments(route).every((segment, at) => segment === below[at]);
}

// Remove headers and cookies from a user's server's answer that affect more than that server.
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

// Add the attributes that hub and JupyterLab leave to the browser, whose defaults differ.
function harden(cookie) {
  const attributes = cookie.toLowerCase().split(/\s*;\s*/).slice(1);
  const secure = attributes.includes("secure") ? "" : "; Secure";
  const site = attributes.some((one) => one.startsWith("samesite=")) ? "" : "; SameSite=Lax";
  return cookie + secure + site;
}

// Apply the rules above to the headers of an answer.
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

// Answer plain HTTP on this port, or the browser would only report a lost connection. Node has no
// documented access to the connection below the failed TLS.
proxy.proxyServer.on("tlsClientError", (error, socket) => {
  if (error.code === "ERR_SSL_HTTP_REQUEST") {
    socket._parent?.end(
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n" +
        `Content-Length: ${REFUSAL.length}\r\n\r\n${REFUSAL}`,
    );
  }
});

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => process.exit());
}
// An error in one connection must not end all others; as in configurable-http-proxy's own command.
process.on("uncaughtException", (error) => proxy.log.error(error.stack));
for (const server of [proxy.apiServer, proxy.proxyServer]) {
  server.on("error", (error) => {
    proxy.log.error(error.message);
    process.exit(1);
  });
}

proxy.apiServer.listen(options.apiPort, "127.0.0.1");
// Each connection takes memory, even if it sends nothing: without a limit, all of the hub's.
proxy.proxyServer.maxConnections = options.mostConnections;
proxy.proxyServer.listen(options.port);
