import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import test from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import {
  type Code,
  create,
  durationFromMs,
  GetServerInfoResponseSchema,
  PushClient,
  PushError,
  SendNotificationRequestSchema,
  SendNotificationResponseSchema,
} from "@pushrpc/client";
import { type Call, FakeServer, refusal } from "./fake.js";

type Answer = (error: object | null, response?: object) => void;

const receipt = create(SendNotificationResponseSchema, { notificationId: "n-1" });
const request = { target: { userIds: ["ann"] }, message: { title: "Hello" } };

/** Answers call after call with the next of `answers`; the last one stays. Keeps what came. */
function script(...answers: ((call: Call, answer: Answer) => void)[]) {
  const calls: Call["request"][] = [];
  const handler = (call: Call, answer: Answer) => {
    const next = answers[Math.min(calls.length, answers.length - 1)];
    calls.push(call.request);
    next?.(call, answer);
  };
  return { calls, handler };
}

const accepts = (_: Call, answer: Answer) => answer(null, receipt);
const refuses = (error: object) => (_: Call, answer: Answer) => answer(error);

test("a send is completed with the app and a request_id, and the caller's object stays as it is", async () => {
  const { calls, handler } = script(accepts);
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  const given = { ...request };
  assert.equal((await client.send(given)).notificationId, "n-1");
  await client.send({ ...request, requestId: "order-1", appId: "other" });
  await client.send(create(SendNotificationRequestSchema, request));
  assert.deepEqual(given, request);
  assert.match(calls[0]?.requestId ?? "", /^[0-9a-f-]{36}$/);
  assert.deepEqual([calls[0]?.appId, calls[1]?.appId, calls[2]?.appId], ["shop", "other", "shop"]);
  assert.equal(calls[1]?.requestId, "order-1");
  assert.notEqual(calls[0]?.requestId, calls[2]?.requestId);
});

test("a send is repeated with the same request_id when the server says so, after the time it asks for", async () => {
  const { calls, handler } = script(refuses(refusal("UNAVAILABLE", "DRAINING", { retryMs: 300 })), accepts);
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  const began = performance.now();
  await client.send(request);
  assert.ok(performance.now() - began >= 295);
  assert.equal(calls.length, 2);
  assert.equal(calls[0]?.requestId, calls[1]?.requestId);
});

test("a send whose answer got lost is repeated with the same request_id", async () => {
  const { calls, handler } = script(async () => {
    server.kill();
    await server.start();
  }, accepts);
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  await client.send(request);
  assert.equal(calls.length, 2);
  assert.equal(calls[0]?.requestId, calls[1]?.requestId);
});

test("a send is repeated after what a lost answer looks like, and after nothing else", async () => {
  const { calls, handler } = script((call, answer) => {
    const [code, reason] = call.request.requestId.split(" ") as [Code, string?];
    const isFirst = calls.filter(({ requestId }) => requestId === call.request.requestId).length === 1;
    if (!isFirst) answer(null, receipt);
    else answer(reason ? refusal(code, reason) : { code: status[code], details: "broken" });
  });
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  const codes = Object.keys(status).filter((name) => name !== "OK" && Number.isNaN(Number(name)));
  const requestIds = codes.flatMap((code) => [code, `${code} REASON`]);
  const answers = await Promise.allSettled(requestIds.map((requestId) => client.send({ ...request, requestId })));
  const repeated = requestIds.filter((_, position) => answers[position]?.status === "fulfilled");
  const lost = ["CANCELLED", "INTERNAL", "UNAVAILABLE", "UNAVAILABLE REASON", "UNKNOWN"];
  assert.deepEqual(repeated.toSorted(), lost);
  assert.equal(calls.length, requestIds.length + lost.length);
});

test("a proxy's own reason hides no lost answer", async () => {
  const reset = refuses(refusal("UNKNOWN", "UPSTREAM_RESET", { domain: "proxy.example", metadata: { via: "proxy" } }));
  const { calls, handler } = script(reset, accepts, refuses(refusal("ABORTED", "SOME", { domain: "proxy.example" })));
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  await client.send(request);
  assert.equal(calls.length, 2);
  await assert.rejects(client.send(request), { code: "ABORTED", reason: "", metadata: {} });
});

test("what no server would read is refused at once", async () => {
  const { calls, handler } = script(accepts);
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  const sized = (extra: number) => ({ appId: "shop", requestId: "x".repeat(4 * 1024 * 1024 - 11 + extra) });
  const largest = create(SendNotificationRequestSchema, sized(0));
  assert.equal(toBinary(SendNotificationRequestSchema, largest).length, 4 * 1024 * 1024);
  await client.send(largest);
  const refused = { name: "PushError", code: "INVALID_ARGUMENT", reason: "FIELD_TOO_LONG" };
  await assert.rejects(client.send(sized(1)), { ...refused, requestId: sized(1).requestId });
  await assert.rejects(client.register({ token: sized(1).requestId }), refused);
  assert.equal(calls.length, 1);
});

test("closing the client ends a send at once, under way and between two tries", async () => {
  const hangs = () => void client.close();
  const asksToWait = (_: Call, answer: Answer) => {
    answer(refusal("UNAVAILABLE", "DRAINING", { retryMs: 8_000 }));
    setTimeout(() => client.close(), 50);
  };
  let client: PushClient;
  for (const answer of [hangs, asksToWait]) {
    await using server = await FakeServer.start({ sendNotification: script(answer).handler });
    client = server.client();
    const began = performance.now();
    const closed = { name: "PushError", code: "CANCELLED", reason: "CLIENT_CLOSED", requestId: "r-1" };
    await assert.rejects(client.send({ ...request, requestId: "r-1" }), closed);
    assert.ok(performance.now() - began < 2_000);
  }
});

test("a value that its field cannot hold is refused at once, and nothing is sent", async () => {
  const { calls, handler } = script(accepts);
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  const wrong = { requestId: "order-1", message: { badge: 2 ** 40 } };
  const refused = { name: "PushError", code: "INVALID_ARGUMENT", requestId: "order-1", message: /badge.*int32/ };
  const began = performance.now();
  await assert.rejects(client.send(wrong), refused);
  const bulk = client.bulk();
  await assert.rejects(bulk.add(wrong), refused);
  await bulk.close();
  assert.ok(performance.now() - began < 1_000);
  assert.equal(calls.length, 0);
});

test("a refusal is not repeated, and tells all that the server told", async () => {
  const fields = ["wait", "message.badge"];
  const error = refusal("INVALID_ARGUMENT", "WAIT_TOO_LONG", { fields, metadata: { field: "wait", limit: "30" } });
  const { calls, handler } = script(refuses(error));
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  await assert.rejects(client.send(request), (thrown) => {
    assert.ok(thrown instanceof PushError && thrown instanceof Error);
    assert.equal(thrown.name, "PushError");
    assert.equal(thrown.code, "INVALID_ARGUMENT");
    assert.equal(thrown.reason, "WAIT_TOO_LONG");
    assert.equal(thrown.message, "refused: WAIT_TOO_LONG");
    assert.deepEqual(thrown.metadata, { field: "wait", limit: "30" });
    assert.deepEqual(thrown.fieldViolations, [
      { field: "wait", description: "is wrong" },
      { field: "message.badge", description: "is wrong" },
    ]);
    assert.equal(thrown.retryDelayMs, undefined);
    assert.equal(thrown.requestId, calls[0]?.requestId); // the client made it
    return true;
  });
  assert.equal(calls.length, 1);
});

test("a full queue is told with the time to come back, and the caller decides", async () => {
  const { calls, handler } = script(refuses(refusal("RESOURCE_EXHAUSTED", "QUEUE_FULL", { retryMs: 5_000 })));
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  await assert.rejects(client.send(request), { code: "RESOURCE_EXHAUSTED", reason: "QUEUE_FULL", retryDelayMs: 5_000 });
  assert.equal(calls.length, 1);
});

test("error details that cannot be read leave the code and the message", async () => {
  const broken = refusal("ABORTED", "");
  broken.metadata.set("grpc-status-details-bin", Buffer.from([0xff, 0xff]));
  await using server = await FakeServer.start({ sendNotification: script(refuses(broken)).handler });
  using client = server.client();
  await assert.rejects(client.send(request), { code: "ABORTED", reason: "", message: "refused: " });
});

test("a server that cannot be reached fails a send within its deadline", async () => {
  using client = PushClient.connect("127.0.0.1:1", "shop", { plaintext: true });
  const began = performance.now();
  const failed = client.send({ ...request, requestId: "order-1" }, { timeoutMs: 600 });
  await assert.rejects(failed, { code: "UNAVAILABLE", requestId: "order-1" });
  assert.ok(performance.now() - began < 3_000);
});

test("a server that never answers fails a send at its deadline", async () => {
  const silent = createServer((socket) => socket.unref()).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as { port: number };
  using client = PushClient.connect(`127.0.0.1:${port}`, "shop", { plaintext: true, timeoutMs: 300 });
  const began = performance.now();
  await assert.rejects(client.send(request), { code: "DEADLINE_EXCEEDED" });
  assert.ok(performance.now() - began >= 290);
  silent.close();
});

test("a send that waits gets the time it waits on top", async () => {
  const deadlines: number[] = [];
  const { handler } = script((call, answer) => {
    deadlines.push(Number(call.getDeadline()) - Date.now());
    answer(null, receipt);
  });
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  await client.send({ ...request, wait: durationFromMs(20_000) });
  await client.send({ ...request, wait: durationFromMs(20_000) }, { timeoutMs: 5_000 });
  assert.ok((deadlines[0] ?? 0) > 29_000 && (deadlines[0] ?? 0) <= 30_000, String(deadlines));
  assert.ok((deadlines[1] ?? 0) > 4_000 && (deadlines[1] ?? 0) <= 5_000, String(deadlines));
});

test("an aborted send rejects with the signal's reason, also between two tries", async () => {
  const reason = new Error("the caller left");
  const aborter = new AbortController();
  const { handler } = script((_, answer) => {
    answer(refusal("UNAVAILABLE", "STARTING", { retryMs: 5_000 }));
    setImmediate(() => aborter.abort(reason));
  });
  await using server = await FakeServer.start({ sendNotification: handler });
  using client = server.client();
  await assert.rejects(client.send(request, { signal: aborter.signal }), reason);
  await assert.rejects(client.send(request, { signal: aborter.signal }), reason);
  const hanging = script((call) => call.on("cancelled", () => {}));
  await using other = await FakeServer.start({ sendNotification: hanging.handler });
  using second = other.client();
  await assert.rejects(second.send(request, { signal: AbortSignal.timeout(50) }), { name: "TimeoutError" });
});

test("what changes nothing when repeated is repeated by the channel, and nothing else", async () => {
  const unavailable = refuses({ code: status.UNAVAILABLE, details: "later" });
  const info = script(unavailable, unavailable, (_, answer) => answer(null, create(GetServerInfoResponseSchema)));
  const open = script(unavailable, accepts);
  await using server = await FakeServer.start({ getServerInfo: info.handler, createBroadcastChannel: open.handler });
  using client = server.client();
  await client.getServerInfo();
  assert.equal(info.calls.length, 3);
  await assert.rejects(client.createBroadcastChannel(), { code: "UNAVAILABLE", message: "later" });
  assert.equal(open.calls.length, 1);
});
