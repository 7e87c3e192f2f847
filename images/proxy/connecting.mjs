// Connections to users' servers: each must come about within seconds, and serves one request.
import { Agent } from "node:http";

// Makes connections that have a limited time to come about, in milliseconds. Without it the kernel
// tries for two minutes to reach a server whose network is gone. What comes later has no limit: an
// answer may take as long as it likes.
//
// No connection is kept for the next request: on one that had come about before the network went,
// the kernel would send that request again and again, for a quarter of an hour.
export class Connecting extends Agent {
  constructor(limit) {
    super({ keepAlive: false });
    this.limit = limit;
  }

  createConnection(options, callback) {
    const socket = super.createConnection(options, callback);
    const giveUp = () => {
      const error = new Error(`no connection to ${options.host}:${options.port}`);
      // The proxy logs this one without a stack.
      socket.destroy(Object.assign(error, { code: "ETIMEDOUT" }));
    };
    const timer = setTimeout(giveUp, this.limit);
    const done = () => clearTimeout(timer);
    return socket.once("connect", done).once("close", done);
  }
}
