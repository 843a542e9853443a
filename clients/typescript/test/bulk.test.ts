import assert from "node:assert/strict";
import test from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import {
  type Code,
  create,
  PushClient,
  PushError,
  type SendNotificationResponse,
  type SendNotificationsRequest,
  SendNotificationsRequestSchema,
  SendReceiptSchema,
} from "@pushrpc/client";
import { accepted, type BulkCall, FakeServer, hurry, refusal } from "./fake.js";

const request = (requestId: string) => ({
  requestId,
  target: { userIds: ["ann"] },
  message: { title: "Hello" },
});

/** A server that keeps what came, by stream, and does with each message as it is told. */
function answering(answer: (call: BulkCall, message: SendNotificationsRequest, stream: number) => void) {
  const streams: SendNotificationsRequest[][] = [];
  const sendNotifications = (call: BulkCall) => {
    const messages: SendNotificationsRequest[] = [];
    const stream = streams.push(messages) - 1;
    call.on("data", (message: SendNotificationsRequest) => {
      messages.push(message);
      answer(call, message, stream);
    });
    call.on("end", () => call.end());
    call.on("error", () => {});
  };
  return { streams, sendNotifications };
}

const accepting = (call: BulkCall, message: SendNotificationsRequest) => void call.write(accepted(message));
const UUID = /^[0-9a-f-]{36}$/;
const sizesOf = (messages: SendNotificationsRequest[] = []) => messages.map(({ sends }) => sends.length);

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!condition()) {
    assert.ok(Date.now() < deadline, "it took too long");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("sends go in messages of 500, and each receipt to whoever added the send", async () => {
  const { streams, sendNotifications } = answering(accepting);
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const bulk = client.bulk();
  const receipts: Promise<SendNotificationResponse>[] = [];
  for (let number = 0; number < 1_201; number++) {
    await bulk.ready();
    receipts.push(bulk.add(request(`r-${number}`)));
  }
  await bulk.close();
  const ids = (await Promise.all(receipts)).map(({ notificationId }) => notificationId);
  assert.deepEqual(
    ids,
    ids.map((_, number) => `n-r-${number}`),
  );
  assert.deepEqual(sizesOf(streams[0]), [500, 500, 201]);
  assert.deepEqual(
    streams[0]?.map(({ appId, sequence }) => [appId, sequence]),
    [
      ["shop", 1n],
      ["shop", 2n],
      ["shop", 3n],
    ],
  );
  await assert.rejects(bulk.add(request("late")), { code: "CANCELLED", reason: "CLIENT_CLOSED", requestId: "late" });
  await bulk.close();
});

test("one send alone does not wait for more, and gets a request_id", async () => {
  const { streams, sendNotifications } = answering(accepting);
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const bulk = client.bulk();
  const { notificationId } = await bulk.add({ target: { userIds: ["ann"] } });
  assert.match(notificationId, /^n-[0-9a-f-]{36}$/);
  await bulk.add(request("second"));
  assert.equal(streams.length, 1);
  await bulk.close();
});

test("a bad send is told alone, with all that the server says", async () => {
  const { sendNotifications } = answering((call, message) => {
    const value = { code: 3, reason: "TARGET_EMPTY", detail: "name a target", fieldViolations: [{ field: "target" }] };
    const refused = create(SendReceiptSchema, { requestId: "b-2", result: { case: "error", value } });
    const response = accepted(message);
    response.receipts[1] = refused;
    call.write(response);
  });
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const bulk = client.bulk();
  const [first, second, third] = await Promise.allSettled(["b-1", "b-2", "b-3"].map((id) => bulk.add(request(id))));
  await bulk.close();
  assert.equal(first?.status, "fulfilled");
  assert.equal(third?.status, "fulfilled");
  assert.ok(second?.status === "rejected" && second.reason instanceof PushError);
  const { code, reason, message, requestId, fieldViolations } = second.reason;
  assert.deepEqual(
    { code, reason, message, requestId },
    { code: "INVALID_ARGUMENT", reason: "TARGET_EMPTY", message: "name a target", requestId: "b-2" },
  );
  assert.deepEqual(fieldViolations, [{ field: "target", description: "" }]);
});

test("messages keep to 10,000 targets and 4 MiB", async () => {
  const { streams, sendNotifications } = answering(accepting);
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const bulk = client.bulk();
  const answers: Promise<unknown>[] = [];
  const target = {
    deviceIds: Array.from({ length: 500 }, (_, number) => `d-${number}`),
    tokens: [{ tokens: Array.from({ length: 400 }, (_, number) => `t-${number}`), subscriptions: [{}, {}] }],
    userIds: Array.from({ length: 98 }, (_, number) => `u-${number}`),
  };
  for (let number = 0; number < 11; number++) answers.push(bulk.add({ target }));
  const message = { body: "x".repeat(1_000_000) };
  for (let number = 0; number < 6; number++) answers.push(bulk.add({ message }));
  const tooLarge = bulk.add({ message: { body: "x".repeat(4 * 1024 * 1024) } });
  await assert.rejects(tooLarge, (error) => {
    assert.ok(error instanceof PushError);
    assert.deepEqual([error.code, error.reason], ["INVALID_ARGUMENT", "FIELD_TOO_LONG"]);
    assert.match(error.message, /name fewer targets/);
    assert.match(error.requestId ?? "", UUID);
    return true;
  });
  await bulk.close();
  await Promise.all(answers);
  assert.deepEqual(sizesOf(streams[0]), [10, 5, 2]);
  for (const message of streams[0] ?? []) {
    assert.ok(toBinary(SendNotificationsRequestSchema, message).length < 4 * 1024 * 1024);
  }
});

test("at most 4 messages are unanswered, and ready waits for room", async () => {
  const held: (() => void)[] = [];
  const { streams, sendNotifications } = answering((call, message) => {
    held.push(() => accepting(call, message));
  });
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const bulk = client.bulk();
  const answers = Array.from({ length: 2_000 }, (_, number) => bulk.add(request(`r-${number}`)));
  let hasRoom = false;
  const ready = bulk.ready().then(() => {
    hasRoom = true;
  });
  await until(() => held.length === 4);
  answers.push(bulk.add(request("one more")));
  await new Promise((resolve) => setTimeout(resolve, 50)); // ten times what a message waits to be filled
  assert.deepEqual(sizesOf(streams[0]), [500, 500, 500, 500]);
  assert.equal(hasRoom, false);
  held.shift()?.();
  await until(() => streams[0]?.length === 5); // the one more
  assert.equal(hasRoom, false);
  held.shift()?.();
  await ready;
  for (const answer of held.splice(0)) answer();
  await Promise.all(answers);
  await bulk.close();
});

test("a broken stream is opened again and what was not answered repeated, under the same ids", async () => {
  const { streams, sendNotifications } = answering((call, message, stream) => {
    if (stream === 0 && message.sequence === 1n) accepting(call, message);
    if (stream === 0 && message.sequence === 3n)
      call.emit("error", refusal("UNAVAILABLE", "DRAINING", { retryMs: 50 }));
    if (stream === 1 && message.sequence === 3n) {
      server.kill();
      void server.start();
    }
    if (stream === 2) accepting(call, message);
  });
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const bulk = client.bulk();
  const answers = Array.from({ length: 1_200 }, (_, number) => bulk.add(request(`r-${number}`)));
  const receipts = await Promise.all(answers);
  await bulk.close();
  assert.equal(receipts[1_199]?.notificationId, "n-r-1199");
  assert.deepEqual(streams.map(sizesOf), [
    [500, 500, 200],
    [500, 200],
    [500, 200],
  ]);
  assert.equal(streams[2]?.[0]?.sends[0]?.requestId, streams[0]?.[1]?.sends[0]?.requestId);
});

test("a refusal for good reaches all that wait, and later sends start anew", async () => {
  const { sendNotifications } = answering((call, message, stream) => {
    if (stream === 0) call.emit("error", refusal("PERMISSION_DENIED", "SCOPE_MISSING"));
    else accepting(call, message);
  });
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const bulk = client.bulk();
  const answers = await Promise.allSettled([bulk.add(request("r-1")), bulk.add(request("r-2")), bulk.add({})]);
  const errors = answers.map((answer) => (answer.status === "rejected" ? answer.reason : undefined));
  assert.ok(errors.every((error) => error instanceof PushError && error.reason === "SCOPE_MISSING"));
  assert.deepEqual([errors[0].requestId, errors[1].requestId], ["r-1", "r-2"]);
  assert.match(errors[2].requestId, UUID);
  assert.equal((await bulk.add(request("r-3"))).notificationId, "n-r-3");
  await bulk.close();
});

test("a server that never answers is asked on another stream after 60 s, and 20 s later all that wait are told", async (context) => {
  hurry(context, 40);
  let isSilent = true;
  const { streams, sendNotifications } = answering((call, message) => {
    if (!isSilent) accepting(call, message);
  });
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const bulk = client.bulk();
  const began = performance.now();
  await assert.rejects(bulk.add(request("r-1")), {
    ...{ name: "PushError", code: "UNAVAILABLE", reason: "", requestId: "r-1" },
    message: /^no answer came within 80000 ms .*not known whether/,
  });
  const took = performance.now() - began;
  assert.ok(took >= 80_000 && took < 160_000, `${took} ms`);
  assert.deepEqual(
    streams.map((messages) => messages.map(({ sends }) => sends.map(({ requestId }) => requestId))),
    [[["r-1"]], [["r-1"]]],
  );
  isSilent = false;
  assert.equal((await bulk.add(request("r-2"))).notificationId, "n-r-2");
  await bulk.close();
});

test("without a server, or one that asks for too much time, all that wait are told too", async (context) => {
  hurry(context, 40);
  const { sendNotifications } = answering((call) => {
    call.emit("error", refusal("ABORTED", "SLOW_READER", { retryMs: 3_600_000 }));
  });
  await using server = await FakeServer.start({ sendNotifications });
  using nowhere = PushClient.connect("127.0.0.1:1", "shop", { plaintext: true });
  using client = server.client();
  const unanswered = { code: "UNAVAILABLE", reason: "", requestId: "r-1", message: /not known whether/ };
  const ends = [nowhere, client].map(async (each) => {
    const bulk = each.bulk({ timeoutMs: 40_000 });
    const began = performance.now();
    const failed = assert.rejects(bulk.add(request("r-1")), unanswered);
    await bulk.close();
    await failed;
    const took = performance.now() - began;
    assert.ok(took >= 60_000 && took < 120_000, `${took} ms`);
  });
  await Promise.all(ends);
});

test("a bulk stream comes back after every code but those that asking again does not change", async () => {
  const codes = (Object.keys(status) as Code[]).filter((name) => !["OK"].includes(name) && Number.isNaN(Number(name)));
  const requestIds = codes.flatMap((code) => [code, `${code} REASON`]);
  const asked = new Set<string>();
  const { sendNotifications } = answering((call, message) => {
    const { requestId = "" } = message.sends[0] ?? {};
    const [code, reason] = requestId.split(" ") as [Code, string?];
    if (asked.has(requestId)) accepting(call, message);
    else call.emit("error", reason ? refusal(code, reason) : { code: status[code], details: "broken" });
    asked.add(requestId);
  });
  await using server = await FakeServer.start({ sendNotifications });
  using client = server.client();
  const failed = new Set<string>();
  for (const requestId of requestIds) {
    const bulk = client.bulk();
    await bulk.add(request(requestId)).catch((error) => {
      assert.ok(error instanceof PushError && error.requestId === requestId);
      failed.add(error.code);
    });
    await bulk.close();
  }
  assert.deepEqual([...failed].toSorted(), [
    ...["ALREADY_EXISTS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE"],
    ...["PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"],
  ]);
});

test("a bulk sender that waits for receipts, or between two streams, ends with its client at once", async () => {
  for (const answer of [
    () => {},
    (call: BulkCall) => void call.emit("error", refusal("UNAVAILABLE", "DRAINING", { retryMs: 60_000 })),
  ]) {
    const { streams, sendNotifications } = answering(answer);
    await using server = await FakeServer.start({ sendNotifications });
    const client = server.client();
    const bulk = client.bulk();
    const closed = { name: "PushError", code: "CANCELLED", reason: "CLIENT_CLOSED", requestId: "r-1" };
    const ended = assert.rejects(bulk.add(request("r-1")), closed);
    await until(() => streams[0]?.length === 1);
    client.close();
    await ended;
    await bulk.close();
  }
});

test("a bulk sender ends with its client", async () => {
  const closed = { name: "PushError", code: "CANCELLED", reason: "CLIENT_CLOSED", requestId: "r-1" };
  const early = PushClient.connect("127.0.0.1:1", "shop", { plaintext: true });
  const late = early.bulk();
  early.close();
  await assert.rejects(late.add(request("r-1")), closed);
  await late.close();
  const { sendNotifications } = answering((call) => {
    client.close();
    call.emit("error", refusal("UNAVAILABLE", "DRAINING", { retryMs: 10 }));
  });
  await using server = await FakeServer.start({ sendNotifications });
  const client = server.client();
  const bulk = client.bulk();
  await assert.rejects(bulk.add(request("r-1")), closed);
  await bulk.close();
});
