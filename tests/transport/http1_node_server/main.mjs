// A foreign HTTP/1.1 server for the transport tests: Node.js's own, over TLS. What paths mean, and how it starts and
// ends, is told in ../http1_go_server/main.go.

import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { parseArgs } from "node:util";

const { values } = parseArgs({ options: { cert: { type: "string" }, key: { type: "string" } } });
let seen = 0;

function asItShouldBe(request, body) {
  const { headers } = request;
  return (
    request.httpVersion === "1.1" &&
    headers["transfer-encoding"] === undefined &&
    headers["content-length"] === String(body.length) &&
    headers.authorization !== undefined &&
    headers.expect === undefined &&
    headers.host === "push.test"
  );
}

async function answer(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  const verb = request.url.split("/")[1];
  if (verb === "seen") return response.end(String(seen));
  seen += 1;
  if (!asItShouldBe(request, body)) return response.writeHead(418).end();
  switch (verb) {
    case "length":
      return response.writeHead(200, { "content-length": body.length }).end(body);
    case "chunked":
      response.writeHead(200);
      for (const byte of body) response.write(Buffer.from([byte]));
      return response.end();
    case "empty":
      return response.writeHead(204).end();
    case "close":
      return response.writeHead(200, { connection: "close" }).end(body);
    case "hints":
      response.writeEarlyHints({ link: "</x>; rel=preload" });
      return response.writeHead(200).end(body);
    case "abort":
      return request.socket.destroy();
    default:
      return response.writeHead(Number(verb)).end(body);
  }
}

const server = createServer({ cert: readFileSync(values.cert), key: readFileSync(values.key) }, answer);
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
