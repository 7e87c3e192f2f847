// Finds the address of a request's client, from headers that only trusted proxies may set.
import { BlockList, isIP } from "node:net";

// Headers that only a proxy may set. A client that could set them would choose the address that its
// failed logins are counted for, and the protocol that cookies are made for.
const FORWARDED = /^(forwarded|x-forwarded-.*|x-real-ip|x-scheme)$/;

// Parse an address as Node and other proxies write it: strips quotes, brackets, port, zone, and the
// prefix of IPv4 addresses in IPv6 sockets. Undefined if it is not an address.
export function address(text) {
  const bare = text
    .trim()
    .replace(/^"(.*)"$/, "$1")
    .replace(/^\[([^\]]*)\](:\d+)?$/, "$1")
    .replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, "$1")
    .replace(/%.*$/, "")
    .toLowerCase()
    .replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/, "");
  return isIP(bare) ? bare : undefined;
}

// Return a function that says whether an address, as Node writes it, is in one of the networks.
export function listed(networks) {
  const list = new BlockList();
  for (const network of networks) {
    const [start, length] = network.split("/");
    list.addSubnet(start, Number(length), isIP(start) === 4 ? "ipv4" : "ipv6");
  }
  return (one) => {
    const bare = address(one ?? "");
    return bare !== undefined && list.check(bare, isIP(bare) === 4 ? "ipv4" : "ipv6");
  };
}

// Addresses of this machine: the hub uses them; no client on the network can have one.
export const local = listed(["127.0.0.0/8", "::1/128"]);

// Return a function that takes a connection's peer and its X-Forwarded-For header, and returns the
// address of the client: the last one that is not a proxy in `networks`. Each proxy appends the
// address it saw. So, reading from the end, everything beyond the first untrusted address may be
// forged.
export function callers(networks) {
  const trusted = listed(networks);
  return (peer, header) => {
    let caller = address(peer ?? "") ?? "";
    const forwarded = (header ?? "").split(",");
    while (caller && trusted(caller) && forwarded.length) {
      const before = address(forwarded.pop());
      if (!before || (local(before) && !trusted(before))) {
        // Invalid or forged: only the proxy that passed it on is known.
        break;
      }
      caller = before;
    }
    return caller;
  };
}

// Replace a request's forwarding headers by this proxy's own. The protocol never comes from a front
// proxy: this proxy serves only TLS.
export function speakFor(request, caller, protocol) {
  const from = caller(request.socket.remoteAddress, request.headers["x-forwarded-for"]);
  for (const name of Object.keys(request.headers)) {
    if (FORWARDED.test(name)) {
      delete request.headers[name];
    }
  }
  const host = request.headers.host ?? "";
  request.headers["x-forwarded-for"] = from;
  request.headers["x-forwarded-proto"] = protocol;
  request.headers["x-forwarded-port"] = /:(\d+)$/.exec(host)?.[1] ?? "443";
  request.headers["x-forwarded-host"] = host;
}
