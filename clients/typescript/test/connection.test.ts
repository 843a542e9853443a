import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { InterceptingCall, type Interceptor, ServerCredentials, status } from "@grpc/grpc-js";
import {
  CancelNotificationRequestSchema,
  CancelNotificationResponseSchema,
  create,
  type GetServerInfoRequest,
  GetServerInfoResponseSchema,
  PushClient,
  PushError,
  PushService,
} from "@pushrpc/client";
import { type Call, FakeServer } from "./fake.js";

type Answer = (error: object | null, response?: object) => void;

test("the token goes with every call, whether it is text or made anew", async () => {
  const tokens: unknown[] = [];
  const getServerInfo = (call: Call, answer: Answer) => {
    tokens.push(...call.metadata.get("authorization"));
    answer(null, create(GetServerInfoResponseSchema));
  };
  await using server = await FakeServer.start({ getServerInfo });
  let made = 0;
  for (const token of ["secret", async () => `made-${++made}`]) {
    using client = PushClient.connect(server.address, "shop", { plaintext: true, token });
    await client.getServerInfo();
    await client.getServerInfo();
  }
  assert.deepEqual(tokens, ["Bearer secret", "Bearer secret", "Bearer made-1", "Bearer made-2"]);
});

test("a token that cannot be made fails the call, and says why", async () => {
  await using server = await FakeServer.start({});
  const token = () => Promise.reject(new Error("the vault is closed"));
  using client = PushClient.connect(server.address, "shop", { plaintext: true, token });
  await assert.rejects(client.getServerInfo(), (error) => {
    assert.ok(error instanceof PushError);
    assert.deepEqual([error.code, error.reason], ["UNAUTHENTICATED", "TOKEN_UNAVAILABLE"]);
    assert.equal(error.message, "no bearer token: the vault is closed");
    return true;
  });
  const unavailable = { name: "PushError", reason: "TOKEN_UNAVAILABLE" };
  await assert.rejects(client.send({ requestId: "r-1" }), { ...unavailable, requestId: "r-1" });
  await assert.rejects(client.follow().open(), unavailable);
  const bulk = client.bulk();
  await assert.rejects(bulk.add({ requestId: "r-2" }), { ...unavailable, requestId: "r-2" });
  await bulk.close();
});

test("the caller's interceptors stay, and see no token", async () => {
  const tokens: unknown[] = [];
  const seen: unknown[] = [];
  const getServerInfo = (call: Call, answer: Answer) => {
    tokens.push(...call.metadata.get("authorization"));
    answer(null, create(GetServerInfoResponseSchema));
  };
  const mine: Interceptor = (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(metadata, listener, next) {
        seen.push(options.method_definition.path, ...metadata.get("authorization"));
        next(metadata, listener);
      },
    });
  await using server = await FakeServer.start({ getServerInfo });
  for (const channelOptions of [{ interceptors: [mine] }, { interceptor_providers: [() => mine] }]) {
    for (const token of [undefined, "secret"]) {
      const options = { plaintext: true, channelOptions, ...(token && { token }) };
      using client = PushClient.connect(server.address, "shop", options);
      await client.getServerInfo();
    }
  }
  assert.deepEqual(tokens, ["Bearer secret", "Bearer secret"]);
  assert.deepEqual(seen, Array(4).fill("/pushrpc.v1.PushService/GetServerInfo"));
});

test("whatever begins after close is told so, and so is a call that still waits for the connection", async () => {
  const closed = { name: "PushError", code: "CANCELLED", reason: "CLIENT_CLOSED" };
  await using server = await FakeServer.start({});
  const client = server.client();
  const waiting = client.getServerInfo();
  client.close();
  client.close();
  await assert.rejects(waiting, closed);
  await assert.rejects(client.getServerInfo(), closed);
  await assert.rejects(client.send({ requestId: "r-1" }), { ...closed, requestId: "r-1" });
  await assert.rejects(client.follow().open(), closed);
});

test("messages of more than 4 MiB are received", async () => {
  const version = "v".repeat(5 * 1024 * 1024);
  const getServerInfo = (_: Call, answer: Answer) =>
    answer(null, create(GetServerInfoResponseSchema, { serverVersion: version }));
  await using server = await FakeServer.start({ getServerInfo });
  using client = server.client();
  assert.equal((await client.getServerInfo()).serverVersion.length, version.length);
});

test("the channel repeats the methods that the repository's service config names, and no other", async () => {
  let directory = import.meta.dirname ?? fileURLToPath(new URL(".", import.meta.url));
  while (!existsSync(join(directory, "proto", "service_config.json"))) directory = dirname(directory);
  const config = JSON.parse(readFileSync(join(directory, "proto", "service_config.json"), "utf8"));
  const methods: { name: { method: string }[]; retryPolicy?: unknown }[] = config.methodConfig;
  const named = methods
    .filter(({ retryPolicy }) => retryPolicy)
    .flatMap(({ name }) => name.map(({ method }) => method));
  const unary = PushService.methods.filter(({ methodKind }) => methodKind === "unary");
  for (const [code, expected] of [
    ["UNAVAILABLE", named],
    ["ABORTED", []],
  ] as const) {
    const counts = new Map<string, number>();
    const handlers = unary.map(({ name, localName }) => {
      const handler = (_: Call, answer: Answer) => {
        counts.set(name, (counts.get(name) ?? 0) + 1);
        answer({ code: status[code], details: "later" });
      };
      return [localName, handler];
    });
    await using server = await FakeServer.start(Object.fromEntries(handlers));
    using client = server.client();
    const call = ({ localName, input }: (typeof unary)[number]) =>
      new Promise((resolve) => {
        const method = client.stub[localName as "getServerInfo"].bind(client.stub);
        method(create(input) as GetServerInfoRequest, resolve);
      });
    await Promise.all(unary.map(call));
    assert.equal(counts.size, unary.length);
    const repeated = [...counts].filter(([, count]) => count > 1).map(([name]) => name);
    assert.deepEqual(repeated.toSorted(), [...expected].toSorted());
  }
});

test("the bare stub shares the connection", async () => {
  const asked: Call["request"][] = [];
  const cancelNotification = (call: Call, answer: Answer) => {
    asked.push(call.request);
    answer(null, create(CancelNotificationResponseSchema, { cancelledCount: 2 }));
  };
  await using server = await FakeServer.start({ cancelNotification });
  using client = server.client();
  const request = create(CancelNotificationRequestSchema, { appId: "blog", requestId: "order-1" });
  const count = await new Promise((resolve, reject) => {
    client.stub.cancelNotification(request, (error, response) =>
      error ? reject(error) : resolve(response?.cancelledCount),
    );
  });
  assert.equal(count, 2);
  assert.equal((await client.cancel({ requestId: "order-1" })).cancelledCount, 2);
  assert.deepEqual(
    asked.map(({ appId }) => appId),
    ["blog", "shop"],
  );
});

test("own authorities and a client certificate", async () => {
  const directory = mkdtempSync(join(tmpdir(), "pushrpc-"));
  try {
    const { ca, server: own, client: caller } = certificates(directory);
    const credentials = ServerCredentials.createSsl(ca, [{ cert_chain: own.cert, private_key: own.key }], true);
    const getServerInfo = (_: Call, answer: Answer) => answer(null, create(GetServerInfoResponseSchema));
    await using server = await FakeServer.start({ getServerInfo }, credentials);
    const tls = { ca, ...caller, serverName: "push.example" };
    const address = `localhost:${server.port}`;
    using client = PushClient.connect(address, "shop", { tls });
    await client.getServerInfo();
    for (const wrong of [{}, { tls: { ca, ...caller } }, { tls: { ca, serverName: "push.example" } }]) {
      using other = PushClient.connect(address, "shop", wrong);
      await assert.rejects(other.getServerInfo(), { code: "UNAVAILABLE" });
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("plain text and certificates exclude each other", () => {
  assert.throws(() => PushClient.connect("127.0.0.1:1", "shop", { plaintext: true, tls: {} }), TypeError);
});

/** An authority, and two certificates of it, made by the openssl command. */
function certificates(directory: string) {
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: directory, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test authority", "-days", "2");
  const issued = (name: string) => {
    const to = ["-keyout", `${name}.key`, "-out", `${name}.pem`, "-subj", `/CN=${name}`, "-days", "2"];
    openssl(
      "req",
      "-x509",
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      ...key,
      ...to,
      "-addext",
      `subjectAltName=DNS:${name}`,
    );
    return { cert: read(`${name}.pem`), key: read(`${name}.key`) };
  };
  const read = (name: string) => readFileSync(join(directory, name));
  return { ca: read("ca.pem"), server: issued("push.example"), client: issued("caller.example") };
}
