// Who is calling: what the headers of a request say of that, and whom to believe.
import { BlockList, isIP } from "node:net";

// What only a proxy may say of a request. A client that could would choose the address that its
// failed logins are counted for, and the protocol that cookies are made for.
const FORWARDED = /^(forwarded|x-forwarded-.*|x-real-ip|x-scheme)$/;

// An address as Node, and other proxies, write it: without what marks IPv4 in an IPv6 socket,
// brackets, a port, a zone. Undefined for what is none.
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

// Addresses of this machine: the hub's own, and nobody's who comes by a network.
const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

const within = (list, one) => list.check(one, isIP(one) === 4 ? "ipv4" : "ipv6");

// A function that says for a connection's peer and its X-Forwarded-For where a request comes from:
// the last address that is no proxy of `networks`. Each proxy adds whom it has seen at the end, so
// what stands before the first stranger, from behind, may be invented.
export function callers(networks) {
  const proxies = new BlockList();
  for (const network of networks) {
    const [start, length] = network.split("/");
    proxies.addSubnet(start, Number(length), isIP(start) === 4 ? "ipv4" : "ipv6");
  }
  const trusted = (one) => within(proxies, one);
  return (peer, header) => {
    let caller = address(peer ?? "") ?? "";
    const told = (header ?? "").split(",");
    while (caller && trusted(caller) && told.length) {
      const before = address(told.pop());
      if (!before || (within(LOOPBACK, before) && !trusted(before))) {
        // Garbage, or invented: all that is known is which proxy passed it on.
        break;
      }
      caller = before;
    }
    return caller;
  };
}

// Makes of a request's headers what this proxy itself can say. The protocol is always its own word:
// it speaks nothing but TLS.
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
