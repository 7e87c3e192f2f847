// What the answer of a user's server may set: nothing that affects more than that server.

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

// Return the segments of a path, or null if browsers and proxy could read it differently.
function segments(path) {
  try {
    return path.split("/").slice(1).map(decodeURIComponent);
  } catch {
    return null;
  }
}

// Return whether browsers send a cookie of a user's server only to that server. Parses it as they
// do: RFC 6265, 5.2. With hostRouting, servers have host names of their own.
function staysBelow(route, cookie, hostRouting) {
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
  if (hostRouting) {
    // The whole host belongs to the user.
    return true;
  }
  const below = segments(paths[0]);
  return below !== null && segments(route).every((segment, at) => segment === below[at]);
}

// Remove headers and cookies from a user's server's answer that affect more than that server.
export function confine(headers, route, hostRouting) {
  for (const name of WHOLE_ORIGIN) {
    delete headers[name];
  }
  const cookies = (headers["set-cookie"] ?? []).filter((cookie) => staysBelow(route, cookie, hostRouting));
  if (cookies.length) {
    headers["set-cookie"] = cookies;
  } else {
    delete headers["set-cookie"];
  }
}

// Add the attributes that hub and JupyterLab leave to the browser, whose defaults differ.
export function harden(cookie) {
  const attributes = cookie.toLowerCase().split(/\s*;\s*/).slice(1);
  const secure = attributes.includes("secure") ? "" : "; Secure";
  const site = attributes.some((one) => one.startsWith("samesite=")) ? "" : "; SameSite=Lax";
  return cookie + secure + site;
}
