import assert from "node:assert/strict";
import test from "node:test";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import {
  type Code,
  create,
  type Follower,
  GetServerInfoResponseSchema,
  PushClient,
  PushError,
  type StreamDeliveryStatusRequest,
  StreamStart,
} from "@pushrpc/client";
import { drainsWithin, FakeServer, type FollowCall, hurry, page, refusal, signal } from "./fake.js";

/** Plays one script for each connection; keeps what was asked. */
function streams(...scripts: ((call: FollowCall) => void)[]) {
  const asked: StreamDeliveryStatusRequest[] = [];
  const streamDeliveryStatus = (call: FollowCall) => {
    asked.push(call.request);
    scripts[asked.length - 1]?.(call);
  };
  return { asked, streamDeliveryStatus };
}

const caughtUp = { case: "heartbeat", value: { caughtUp: true } } as const;
const over = { case: "end", value: { counts: { total: 2, sent: 2 } } } as const;
const comeBack = { case: "reconnect", value: { delay: durationFromMs(200) } } as const;

async function idsOf(follower: Follower): Promise<string[]> {
  const ids: string[] = [];
  for await (const event of follower) ids.push(event.eventId);
  return ids;
}

function write(call: FollowCall, ...messages: Parameters<FollowCall["write"]>[0][]): void {
  for (const message of messages) call.write(message);
}

test("events come one by one, typed, until the end with its counts", async () => {
  const { asked, streamDeliveryStatus } = streams((call) => {
    write(call, page("c1", "e1", "e2"), signal("c2", caughtUp), page("c3", "e3"), signal("c4", over));
    call.end();
  });
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const follower = client.follow({ requestIds: ["order-1"], finalOnly: true });
  assert.equal(follower.cursor, "");
  assert.deepEqual(await idsOf(follower), ["e1", "e2", "e3"]);
  assert.equal(follower.cursor, "c4");
  assert.equal(follower.counts?.sent, 2);
  const { appId, requestIds, finalOnly } = asked[0] as StreamDeliveryStatusRequest;
  assert.deepEqual({ appId, requestIds, finalOnly }, { appId: "shop", requestIds: ["order-1"], finalOnly: true });
});

test("the cursor moves with the last event of a page", async () => {
  const { asked, streamDeliveryStatus } = streams((call) =>
    write(call, page("c1", "e1", "e2"), page("c2", "e3", "e4")),
  );
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const follower = client.follow({ cursor: "c0" });
  const cursors: string[] = [];
  for await (const event of follower) {
    cursors.push(follower.cursor);
    if (event.eventId === "e3") break;
  }
  assert.deepEqual(cursors, ["c0", "c1", "c1"]);
  assert.equal(follower.cursor, "c1");
  assert.deepEqual(await idsOf(follower), []); // a loop that was left is over
  assert.equal(asked.length, 1);
});

test("broken connections are resumed from the last cursor, without gap or repeat", async () => {
  const interruptions: PushError[] = [];
  const { asked, streamDeliveryStatus } = streams(
    (call) => {
      write(call, page("c1", "e1", "e2"), page("c2", "e3"));
      call.emit("error", refusal("ABORTED", "SLOW_READER", { retryMs: 10 }));
    },
    (call) => {
      write(call, signal("c3", caughtUp));
      call.end();
    },
    (call) => call.emit("error", refusal("UNAVAILABLE", "STARTING", { retryMs: 10 })),
    async () => {
      server.kill();
      await server.start();
    },
    (call) => {
      write(call, page("c4", "e4"), signal("c5", over));
      call.end();
    },
  );
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const follower = client.follow(
    { start: StreamStart.OLDEST },
    { onInterrupted: (error, pauseMs) => interruptions.push(error) + pauseMs },
  );
  assert.deepEqual(await idsOf(follower), ["e1", "e2", "e3", "e4"]);
  assert.deepEqual(
    asked.map(({ cursor, start }) => [cursor, start]),
    [
      ["", StreamStart.OLDEST],
      ["c2", StreamStart.UNSPECIFIED],
      ["c3", StreamStart.UNSPECIFIED],
      ["c3", StreamStart.UNSPECIFIED],
      ["c3", StreamStart.UNSPECIFIED],
    ],
  );
  assert.deepEqual(
    interruptions.slice(0, 2).map(({ reason }) => reason),
    ["SLOW_READER", "STARTING"],
  );
  assert.ok(interruptions.every((error) => error instanceof PushError));
});

test("a cursor wins over a start, which stays where there is none", async () => {
  const end = (call: FollowCall) => {
    write(call, signal("c2", over));
    call.end();
  };
  const { asked, streamDeliveryStatus } = streams(end, end);
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const request = { cursor: "c1", start: StreamStart.OLDEST };
  await idsOf(client.follow(request));
  await idsOf(client.follow({ ...request, cursor: "" }));
  assert.deepEqual(
    asked.map(({ cursor, start }) => [cursor, start]),
    [
      ["c1", StreamStart.UNSPECIFIED],
      ["", StreamStart.OLDEST],
    ],
  );
  assert.equal(request.start, StreamStart.OLDEST);
});

test("a server that lets go is asked again with its cursor after its delay", async () => {
  const times: number[] = [];
  const { asked, streamDeliveryStatus } = streams(
    (call) => {
      times.push(performance.now());
      write(call, page("c1", "e1"), signal("c2", comeBack));
      call.end();
    },
    (call) => {
      times.push(performance.now());
      write(call, page("c3", "e2"), signal("c4", over));
      call.end();
    },
  );
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  assert.deepEqual(await idsOf(client.follow()), ["e1", "e2"]);
  assert.equal(asked[1]?.cursor, "c2");
  assert.ok((times[1] ?? 0) - (times[0] ?? 0) >= 195);
});

test("a refusal for good ends the loop with its error", async () => {
  const { asked, streamDeliveryStatus } = streams(
    (call) => {
      write(call, page("c1", "e1"));
      call.emit("error", refusal("OUT_OF_RANGE", "CURSOR_EXPIRED", { metadata: { oldest_cursor: "c9" } }));
    },
    (call) => call.emit("error", refusal("NOT_FOUND", "NOTIFICATION_NOT_FOUND")),
  );
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const follower = client.follow({ cursor: "c0" });
  const ids: string[] = [];
  const loop = async () => {
    for await (const event of follower) ids.push(event.eventId);
  };
  await assert.rejects(loop(), { reason: "CURSOR_EXPIRED", metadata: { oldest_cursor: "c9" } });
  assert.deepEqual(ids, ["e1"]);
  const unknown = client.follow({ notificationIds: ["n-1"] });
  await assert.rejects(unknown.open(), { reason: "NOTIFICATION_NOT_FOUND" });
  await assert.rejects(idsOf(unknown), { reason: "NOTIFICATION_NOT_FOUND" });
  assert.equal(asked.length, 2);
});

test("a running follower comes back after every code but those that asking again does not change", async () => {
  const finals = ["INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "ALREADY_EXISTS", "FAILED_PRECONDITION"];
  finals.push("UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED");
  const codes = Object.keys(status).filter((name) => name !== "OK" && Number.isNaN(Number(name))) as Code[];
  const streamDeliveryStatus = (call: FollowCall) => {
    const { cursor, requestIds } = call.request;
    if (cursor === "") {
      write(call, page("c1", "e1"));
      call.emit("error", refusal(requestIds[0] as Code, "REASON", { retryMs: 10 }));
    } else {
      write(call, page("c2", "e2"), signal("c3", over));
      call.end();
    }
  };
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const ends = await Promise.allSettled(codes.map((code) => idsOf(client.follow({ requestIds: [code] }))));
  const ended = codes.filter((code, position) => {
    const end = ends[position];
    if (end?.status === "fulfilled") assert.deepEqual(end.value, ["e1", "e2"]);
    else assert.ok(end?.reason instanceof PushError && end.reason.code === code);
    return end?.status === "rejected";
  });
  assert.deepEqual(ended.toSorted(), finals.toSorted());
});

test("a follower whose first stream does not begin within 20 s fails with the last error", async (context) => {
  hurry(context, 40);
  const { asked, streamDeliveryStatus } = streams(() => {});
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  using nowhere = PushClient.connect("127.0.0.1:1", "shop", { plaintext: true });
  const began = performance.now();
  for (const [follower, code] of [
    [client.follow(), "UNAVAILABLE"],
    [nowhere.follow(), "UNAVAILABLE"],
  ] as const) {
    await assert.rejects(follower.open(), { name: "PushError", code });
    await assert.rejects(idsOf(follower), { name: "PushError", code });
  }
  assert.equal(asked.length, 1);
  const took = performance.now() - began;
  assert.ok(took >= 40_000 && took < 120_000, `${took} ms`);
});

test("a silence hides no error that was said before it", async (context) => {
  hurry(context, 40);
  const { asked, streamDeliveryStatus } = streams(
    (call) => call.emit("error", refusal("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", {})),
    () => {},
  );
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const expected = { name: "PushError", code: "RESOURCE_EXHAUSTED", reason: "TOO_MANY_STREAMS" };
  await assert.rejects(client.follow().open(), expected);
  assert.equal(asked.length, 2);
});

test("closing the client ends its followers with an error, where they wait and where they pause", async () => {
  for (const first of [caughtUp, { case: "reconnect", value: { delay: durationFromMs(60_000) } } as const]) {
    const { streamDeliveryStatus } = streams((call) => write(call, page("c1", "e1"), signal("c2", first)));
    await using server = await FakeServer.start({ streamDeliveryStatus });
    using client = server.client();
    const follower = client.follow();
    const ended = assert.rejects(
      async () => {
        for await (const _ of follower) setTimeout(() => client.close(), 100);
      },
      { name: "PushError", code: "CANCELLED", reason: "CLIENT_CLOSED" },
    );
    await ended;
  }
});

test("a follower whose stream has begun once comes back after any time", async (context) => {
  hurry(context, 40);
  const { streamDeliveryStatus } = streams(
    (call) => {
      write(call, page("c1", "e1"));
      setTimeout(() => server.kill(), 50);
      setTimeout(() => server.start(), 1_000); // 40 s
    },
    (call) => {
      write(call, page("c2", "e2"), signal("c3", over));
      call.end();
    },
  );
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const began = performance.now();
  assert.deepEqual(await idsOf(client.follow()), ["e1", "e2"]);
  assert.ok(performance.now() - began > 30_000);
});

test("open resolves once the server has said where it begins, and loses nothing", async () => {
  const { asked, streamDeliveryStatus } = streams((call) => {
    setTimeout(() => write(call, signal("c1", caughtUp)), 100);
    setTimeout(() => write(call, page("c2", "e1"), signal("c3", over)), 150);
  });
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const follower = client.follow();
  await Promise.all([follower.open(), follower.open()]);
  assert.equal(follower.cursor, "c1");
  assert.deepEqual(await idsOf(follower), ["e1"]);
  assert.equal(asked.length, 1);
});

test("a slow loop slows the server, and no other call", async () => {
  const pages = 300;
  const events = Array.from({ length: 500 }, (_, position) => `${"e".repeat(100)}${position}`);
  let written = 0;
  let stall = () => {};
  const stalled = new Promise<void>((resolve) => {
    stall = resolve;
  });
  const { streamDeliveryStatus } = streams(async (call) => {
    while (written < pages) {
      const goesOn = call.write(page(`c${written++}`, ...events));
      if (!goesOn && !(await drainsWithin(call, 500))) {
        stall();
        await new Promise((resolve) => call.once("drain", resolve));
      }
    }
    write(call, signal("end", over));
    call.end();
  });
  const getServerInfo = (_: unknown, answer: (error: null, response: object) => void) =>
    answer(null, create(GetServerInfoResponseSchema));
  await using server = await FakeServer.start({ streamDeliveryStatus, getServerInfo });
  using client = server.client();
  let count = 0;
  for await (const _ of client.follow()) {
    if (count++ === 0) {
      await stalled;
      assert.ok(written < 60, `${written} pages were read ahead`);
      await client.getServerInfo();
    }
  }
  assert.equal(count, pages * events.length);
});

test("a connection that says nothing for a minute is given up for another", async (context) => {
  const { setTimeout } = globalThis;
  const hurried = (callback: () => void, ms: number) => setTimeout(callback, ms === 60_000 ? 50 : ms);
  context.mock.method(globalThis, "setTimeout", hurried as typeof setTimeout);
  const { asked, streamDeliveryStatus } = streams(
    (call) => write(call, page("c1", "e1")),
    (call) => {
      write(call, page("c2", "e2"), signal("c3", over));
      call.end();
    },
  );
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  assert.deepEqual(await idsOf(client.follow()), ["e1", "e2"]);
  assert.equal(asked[1]?.cursor, "c1");
});

test("close ends the loop without an error, a signal with its reason", async () => {
  const { streamDeliveryStatus } = streams(
    (call) => write(call, page("c1", "e1")),
    (call) => write(call, page("c1", "e1")),
    (call) => call.emit("error", refusal("UNAVAILABLE", "DRAINING", { retryMs: 60_000 })),
  );
  await using server = await FakeServer.start({ streamDeliveryStatus });
  using client = server.client();
  const closed = client.follow();
  const ids = idsOf(closed);
  await closed.open();
  setTimeout(() => closed.close(), 50);
  assert.deepEqual(await ids, ["e1"]);
  const reason = new Error("the caller left");
  const aborter = new AbortController();
  const aborted = client.follow({}, { signal: aborter.signal });
  const rejected = assert.rejects(idsOf(aborted), reason);
  await aborted.open();
  aborter.abort(reason);
  await rejected;
  const waiting = client.follow({}, { onInterrupted: () => setImmediate(() => waiting.close()) });
  assert.deepEqual(await idsOf(waiting), []);
});
