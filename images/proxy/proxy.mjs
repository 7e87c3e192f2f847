// The process that owns the published port: configurable-http-proxy, with settings that its command
// line has no options for. Takes its options as one argument in JSON: in a container of its own from
// components/proxy.py, and in the hub's from zhub/front/proxy.py. The token of its API comes from the
// file that the options name, or else from the environment.
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

import { ConfigurableProxy } from "configurable-http-proxy";

import { follow } from "./certificate.mjs";
import { confine, harden } from "./confine.mjs";
import { Connecting } from "./connecting.mjs";
import { Crowd } from "./crowd.mjs";
import { callers, listed, speakFor } from "./forwarded.mjs";
import { logger, saying } from "./log.mjs";
import { unavailable } from "./unavailable.mjs";

// Milliseconds that a client may go without sending, or taking, a byte of its request's body. A
// request as a whole may take as long as it takes.
const BODY_IDLE = 300_000;

// Milliseconds that a connection stays open after an answer: longer than browsers keep theirs (300
// seconds in Chrome), so that it is the browser that closes it. A server that closes first may do so
// while the next request is on its way, which is then lost.
const KEEP_ALIVE = 360_000;

// Milliseconds that requests under way have to finish after SIGTERM, and then those that came after
// it; components/service.py has the engine wait for a little longer.
const GRACE = 25_000;
const LAST_GRACE = 2000;

// Milliseconds between two requests of the proxy to itself, and the file with the time of the last
// answer, which /usr/local/bin/proxy-health reads.
const HEARTBEAT = 5000;
const HEARTBEAT_FILE = "/tmp/proxy-heartbeat";

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

const TLS = { minVersion: "TLSv1.2", ciphers: CIPHERS.join(":"), honorCipherOrder: true };

const proxy = new ConfigurableProxy({
  log: logger(options.logLevel ?? "info", options.logFormat),
  defaultTarget: options.hub,
  errorTarget: options.errors,
  hostRouting: options.hostRouting,
  // speakFor sets these headers.
  xfwd: false,
  ssl: TLS,
  keepAliveTimeout: KEEP_ALIVE,
  enableMetrics: Boolean(options.metricsPort),
});
follow(
  proxy.proxyServer,
  { key: options.key, certificate: options.certificate },
  TLS,
  proxy.log,
);

// Read for each request, of which there are few: the hub may write the file after this has started.
// Until then, nobody knows the token.
Object.defineProperty(proxy, "authToken", {
  get() {
    if (!options.tokenFile) {
      return process.env.CONFIGPROXY_AUTH_TOKEN;
    }
    try {
      return readFileSync(options.tokenFile, "utf8");
    } catch {
      return randomBytes(32).toString("hex");
    }
  },
});

// A connection to the hub is used for one request, as those to servers are. The hub may close it at
// any time, and the next request, just sent on it, would be lost: the browser would see a 503.
proxy.httpAgent = new http.Agent({ keepAlive: false });

// Whether there are routes. A proxy that starts without has none until the hub sets them. All requests
// would then go to the hub, which has no answer for those of users' servers.
let routed = !options.awaitRoutes;
const add = proxy.addRoute;
proxy.addRoute = async function (path, data) {
  const added = await add.call(this, path, data);
  routed ||= data.hub === true;
  return added;
};

// Take over the routes that the proxy before had, from the file in which the hub keeps them. It may be
// a while until the hub is there; then it checks them.
if (options.routesFile) {
  try {
    const kept = JSON.parse(readFileSync(options.routesFile, "utf8"));
    await Promise.all(Object.entries(kept).map(([path, data]) => proxy.addRoute(path, data)));
  } catch (error) {
    // The first proxy of a stack finds none.
    if (error.code !== "ENOENT") {
      proxy.log.error("the routes in %s are of no use: %s", options.routesFile, error.message);
    }
  }
}

const NO_ROUTES = new Error("the hub has not set its routes yet");

// Keep a request's route with it: the rules for an answer depend on who gives it.
const find = proxy.targetForReq;
proxy.targetForReq = async function (request) {
  if (!routed) {
    throw NO_ROUTES;
  }
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

// The hub has the page for a server that does not answer, but it cannot have the page for itself.
const fail = proxy.handleProxyError;
proxy.handleProxyError = function (code, kind, request, response, error) {
  const hubs = error === NO_ROUTES || (request.route && !isUsers(request));
  if (!hubs) {
    return fail.call(this, code, kind, request, response, error);
  }
  if (kind === "web") {
    this.log.error("503 %s %s %s", request.method, request.url.split("?", 1)[0], error?.message ?? "");
    return unavailable(request, response);
  }
  return fail.call(this, 503, kind, request, response, { code: "ECONNREFUSED", ...error });
};
proxy._handleProxyErrorDefault = (code, kind, request, response) => unavailable(request, response);

// The hub asks every second whether its routes are there.
const logResponse = proxy.logResponse;
proxy.logResponse = function (request, response) {
  if (request.method !== "GET" || response.statusCode >= 400) {
    logResponse.call(this, request, response);
  }
};

// Apply the rules for an answer to its headers.
function correct(answer, request) {
  if (answer.statusCode !== 101) {
    // What these say is about the connection to hub or server, not the client's (RFC 9110, 7.6.1).
    delete answer.headers.connection;
    delete answer.headers["keep-alive"];
    if (ending) {
      answer.headers.connection = "close";
    }
  }
  if (isUsers(request)) {
    confine(answer.headers, request.route.prefix, options.hostRouting);
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

// Requests under way, without websockets, which have no end to wait for; and of these, those that were
// under way already when the end began.
const underWay = new Set();
let early = new Set();
let ending = false;
let closed = false;

proxy.proxyServer.prependListener("request", (request, response) => {
  underWay.add(response);
  if (ending) {
    response.setHeader("Connection", "close");
  }
  // While a body arrives; an answer may keep its client waiting.
  request.socket.setTimeout(BODY_IDLE);
  request.once("end", () => response.writableFinished || request.socket.setTimeout(0));
  response.once("close", () => {
    underWay.delete(response);
    early.delete(response);
    if (ending && !early.size) {
      close();
    }
  });
});

// Let requests end, and then exit, which ends all websockets. Until then others go on: nobody is to be
// shut out for as long as somebody's download takes.
function end() {
  if (ending) {
    return;
  }
  ending = true;
  early = new Set(underWay);
  proxy.log.info("ending, after %d requests under way", early.size);
  setTimeout(close, early.size ? GRACE : 0);
}

// Take no more connections, and exit soon.
function close() {
  if (!closed) {
    closed = true;
    proxy.proxyServer.close();
    proxy.proxyServer.closeIdleConnections();
    setTimeout(() => process.exit(), underWay.size ? LAST_GRACE : 0);
  } else if (!underWay.size) {
    process.exit();
  }
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, end);
}
// An error in one connection must not end all others; as in configurable-http-proxy's own command.
process.on("uncaughtException", (error) => proxy.log.error(saying(error)));
for (const server of [proxy.apiServer, proxy.metricsServer, proxy.proxyServer].filter(Boolean)) {
  server.on("error", (error) => {
    proxy.log.error(error.message);
    process.exit(1);
  });
}

// Ask this proxy through its own port, and write down when it has answered.
function beat() {
  const where = { host: "127.0.0.1", port: options.port, path: "/_chp_healthz", agent: false };
  https
    // It is asked whether the port answers, and not whose certificate it has.
    .get({ ...where, rejectUnauthorized: false, timeout: HEARTBEAT }, (answer) => {
      answer.resume();
      if (answer.statusCode === 200) {
        writeFileSync(HEARTBEAT_FILE, `${readFileSync("/proc/uptime", "utf8").split(".", 1)[0]}\n`);
      }
    })
    .on("error", (error) => proxy.log.error("the proxy does not answer itself: %s", error.message));
}

if (options.heartbeat) {
  proxy.proxyServer.once("listening", beat);
  setInterval(beat, HEARTBEAT);
}

proxy.apiServer.listen(options.apiPort, "127.0.0.1");
proxy.metricsServer?.listen(options.metricsPort, "127.0.0.1");
// Each connection takes memory, even if it sends nothing: without a limit, all there is. Those that
// wait for a next request make room for new ones. Before TLS begins, which costs most.
const crowd = new Crowd(options.mostConnections, listed(options.trustedProxies ?? []));
const begin = proxy.proxyServer.listeners("connection");
proxy.proxyServer.removeAllListeners("connection");
proxy.proxyServer.on("connection", function (socket) {
  if (!crowd.take(socket)) {
    socket.destroy();
    return;
  }
  if (crowd.busy) {
    this.closeIdleConnections();
  }
  begin.forEach((listener) => listener.call(this, socket));
});
// Node would end a request whose body takes longer than five minutes.
proxy.proxyServer.requestTimeout = 0;
proxy.proxyServer.listen(options.port);
