// Node's http2 module as a server that does what it is told; tests/conformance/servers.py says in which language.
import fs from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import readline from "node:readline";
import tls from "node:tls";

const SETTING = { 1: "headerTableSize", 3: "maxConcurrentStreams", 4: "initialWindowSize", 5: "maxFrameSize" };
const WINDOW_DEFAULT = 65535;
const listeners = new Map();

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// Settings that have no name in Node go as custom ones.
function named(values) {
  const settings = {};
  for (const [id, value] of Object.entries(values)) {
    if (SETTING[id]) settings[SETTING[id]] = value;
    else (settings.customSettings ??= {})[id] = value;
  }
  return settings;
}

class Listener {
  constructor(order) {
    this.order = order;
    this.sessions = []; // { session, socket, streams: Map of token -> { stream, trailers } }
    this.sockets = new Set();
    this.reads = order.reads;
  }

  open() {
    const { order } = this;
    const files = order.stalls ? {} : { cert: fs.readFileSync(order.cert), key: fs.readFileSync(order.key) };
    if (order.stalls) this.server = net.createServer();
    else if (!order.alpn.includes("h2"))
      this.server = tls.createServer({ ...files, ALPNProtocols: order.alpn.length ? order.alpn : undefined });
    else this.server = this.http2Server(files);
    this.server.on("tlsClientError", () => {});
    this.server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.sockets.delete(socket));
    });
    return new Promise((done) => this.server.listen(0, "127.0.0.1", () => done(this.server.address().port)));
  }

  http2Server(files) {
    const { order } = this;
    const settings = named(order.settings);
    const server = http2.createSecureServer({
      ...files,
      settings,
      remoteCustomSettings: [],
      paddingStrategy: http2.constants[order.padded ? "PADDING_STRATEGY_MAX" : "PADDING_STRATEGY_NONE"],
      maxSessionMemory: 200,
      maxOutstandingPings: 100,
    });
    let last; // the TCP connection under the session that comes next, for there is one at a time
    server.on("connection", (socket) => (last = socket));
    server.on("session", (session) => this.began(session, last));
    server.on("sessionError", () => {});
    return server;
  }

  began(session, socket) {
    const number = this.sessions.length + 1;
    const streams = new Map();
    const tell = (event, fields = {}) => say({ listener: this.order.listener, event, connection: number, ...fields });
    this.sessions.push({ session, socket, streams, tell });
    tell("opened");
    session.on("close", () => tell("closed"));
    session.on("error", (error) => tell("broken", { detail: String(error) }));
    session.on("localSettings", () => tell("acknowledged"));
    if (this.order.connection_window > WINDOW_DEFAULT) session.setLocalWindowSize(this.order.connection_window);
    session.on("stream", (stream, headers) => this.request(stream, headers, streams, tell));
  }

  request(stream, headers, streams, tell) {
    const token = headers[":path"].split("/").at(-1);
    if (headers["apns-id"] !== token || headers.authorization !== "bearer t")
      tell("broken", { detail: `headers of ${token}: ${JSON.stringify(headers)}` });
    streams.set(token, { stream, tell });
    tell("began", { token, stream: stream.id });
    let length = 0;
    stream.on("error", () => {});
    stream.on("close", () => stream.rstCode === http2.constants.NGHTTP2_CANCEL && tell("cancelled", { token }));
    const read = () => {
      stream.on("data", (chunk) => (length += chunk.length));
      stream.on("end", async () => {
        tell("whole", { token, length });
        for (const [verb, ...rest] of this.order.plan) await this.step(verb, token, ...rest);
      });
    };
    if (this.reads) read();
    else streams.get(token).read = read;
  }

  async step(verb, target, ...rest) {
    if (typeof target === "number") return this.connectionStep(verb, this.sessions[target - 1], ...rest);
    const held = this.sessions.map(({ streams }) => streams.get(target)).find(Boolean);
    await streamStep(verb, held, target, ...rest);
    const ends = verb === "trailers" || ((verb === "headers" || verb === "data") && rest[1]);
    if (ends) held.tell("answered", { token: target });
  }

  async connectionStep(verb, { session, socket, streams, tell }, ...rest) {
    switch (verb) {
      case "goaway":
        return session.goaway(rest[1], rest[0]);
      case "shutdown":
        return session.close();
      case "settings":
        return session.settings(named(rest[0]));
      case "ping":
        return session.ping((error) => error || tell("pong"));
      case "unknown": // neither is known to a client that knows RFC 9113 only
        session.origin("https://push.test");
        return session.altsvc('h2=":8000"', "https://push.test");
      case "release":
        this.reads = true;
        for (const held of streams.values()) {
          held.read?.();
          delete held.read;
        }
        return;
      case "cut":
        await written(session);
        return rest[0] ? socket.resetAndDestroy() : socket.destroy();
    }
    throw new Error(`no step ${verb}`);
  }

  close() {
    for (const { session } of this.sessions) session.destroy();
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

async function streamStep(verb, held, token, ...rest) {
  const { stream } = held;
  switch (verb) {
    case "interim":
      return stream.additionalHeaders({ ":status": rest[0], "x-token": token });
    case "headers": {
      const [status, endStream, filler = 0] = rest;
      // Without its wait for trailers, close(code) would first end the response as if it were whole.
      const more = filler ? { "x-filler": "f".repeat(filler) } : {};
      return stream.respond({ ":status": status, "x-token": token, ...more }, { endStream, waitForTrailers: !endStream });
    }
    case "data": {
      const [size, end] = rest;
      const body = Buffer.from(token.repeat(Math.ceil(size / token.length) || 0).slice(0, size));
      if (end) stream.once("wantTrailers", () => stream.sendTrailers({})); // which is DATA with END_STREAM
      return void (end ? stream.end(body) : await new Promise((done) => stream.write(body, done)));
    }
    case "trailers":
      stream.once("wantTrailers", () => stream.sendTrailers({ "x-checksum": "7" }));
      return void stream.end();
    case "reset":
      return stream.close(rest[0]);
  }
  throw new Error(`no step ${verb}`);
}

// What was handed to the session has gone to the socket when its pings could follow it.
const written = (session) => new Promise((done) => (session.destroyed ? done() : setImmediate(done)));

for await (const text of readline.createInterface({ input: process.stdin })) {
  const order = JSON.parse(text);
  const answer = { id: order.id };
  try {
    if (order.do === "listen") {
      listeners.set(order.listener, new Listener(order));
      answer.port = await listeners.get(order.listener).open();
    } else if (order.do === "steps") {
      for (const step of order.steps) await listeners.get(order.listener).step(...step);
    } else if (order.do === "close") {
      listeners.get(order.listener).close();
      listeners.delete(order.listener);
      answer.added = 0;
    }
  } catch (error) {
    answer.error = String(error);
  }
  say(answer);
}
process.exit(0);
