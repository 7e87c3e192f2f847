// How many connections there may be at a time, and that no address keeps all others out.
import { local } from "./forwarded.mjs";

// Parts of the most connections. From the first on, those that wait for a next request make room; and
// an address that has more than the second gets no further ones.
const BUSY = 0.75;
const SHARE = 0.25;

// What one user can have any number of counts as one place: an address, or a /64 of IPv6.
export function place(address) {
  if (!address?.includes(":") || address.includes(".")) {
    return address ?? "";
  }
  const [first, last] = address.split("::").map((part) => (part ? part.split(":") : []));
  const zeros = last ? Array(8 - first.length - last.length).fill("0") : [];
  return [...first, ...zeros, ...(last ?? [])].slice(0, 4).join(":");
}

// Counts the open connections. `proxies` says of an address whether many people come from it.
export class Crowd {
  constructor(most, proxies = () => false) {
    this.most = most;
    this.proxies = proxies;
    this.open = 0;
    this.from = new Map();
  }

  get busy() {
    return this.open > BUSY * this.most;
  }

  // Return whether there is room for a connection, which then counts until it is closed.
  take(socket) {
    const address = socket.remoteAddress;
    if (local(address)) {
      // The proxy itself, which looks whether its port answers, and the hub's health check.
      return true;
    }
    const at = place(address);
    const before = this.from.get(at) ?? 0;
    const many = this.busy && before >= SHARE * this.most && !this.proxies(address);
    if (many || this.open >= this.most) {
      return false;
    }
    this.open += 1;
    this.from.set(at, before + 1);
    socket.once("close", () => {
      this.open -= 1;
      const left = this.from.get(at) - 1;
      if (left) {
        this.from.set(at, left);
      } else {
        this.from.delete(at);
      }
    });
    return true;
  }
}
