import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { ServerCredentials } from "@grpc/grpc-js";
import {
  CancelNotificationRequestSchema,
  CancelNotificationResponseSchema,
  create,
  GetServerInfoResponseSchema,
  PushClient,
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
  await assert.rejects(client.getServerInfo(), { code: "UNAUTHENTICATED", message: /the vault is closed/ });
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
