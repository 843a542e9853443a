// Measures the client against a server that only answers, in a process of its own: node build/bench/main.js
// With the address of a real server (no TLS, app shop) it replays what that has kept: node build/bench/main.js ADDRESS
import { fork } from "node:child_process";
import { once } from "node:events";
import { toBinary } from "@bufbuild/protobuf";
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from "@grpc/grpc-js";
import {
  create,
  PushClient,
  pushServiceDefinition,
  SendNotificationRequestSchema,
  SendNotificationResponseSchema,
  StreamDeliveryStatusResponseSchema,
  StreamStart,
  timestampFromDate,
} from "@pushrpc/client";

const EVENTS_PER_PAGE = 500;
const PAGES = 400;
const REPLAYS = 5;
const CALLS = 200;
const ROUNDS = 41;

const [, , argument] = process.argv;
if (argument === "serve") await serve();
else if (argument !== undefined) await measureReal(argument);
else await measure();

async function measureReal(address: string): Promise<void> {
  const client = PushClient.connect(address, "shop", { plaintext: true });
  try {
    await follow(client);
  } finally {
    client.close();
  }
}

async function measure(): Promise<void> {
  const server = fork(process.argv[1] as string, ["serve"]);
  const [port] = (await once(server, "message")) as [number];
  const client = PushClient.connect(`127.0.0.1:${port}`, "shop", { plaintext: true });
  try {
    await follow(client);
    await send(client);
  } finally {
    client.close();
    server.kill();
  }
}

async function follow(client: PushClient): Promise<void> {
  const rates: number[] = [];
  for (let round = 0; round < REPLAYS; round++) rates.push(await replay(client));
  console.log(`follow: ${Math.round(median(rates))} events/s in the median round`);
}

async function replay(client: PushClient): Promise<number> {
  const began = performance.now();
  const cpu = process.cpuUsage();
  let count = 0;
  let finals = 0;
  for await (const event of client.follow({ start: StreamStart.OLDEST, untilCaughtUp: true })) {
    count++;
    finals += event.final ? 1 : 0;
  }
  if (finals === 0) throw new Error("the server has kept nothing");
  const { user, system } = process.cpuUsage(cpu);
  const rate = count / ((performance.now() - began) / 1_000);
  console.log(`follow: ${Math.round(rate)} events/s, ${((user + system) / count).toFixed(1)} µs of CPU an event`);
  return rate;
}

/** In turns, so that both see the same machine; the median turn of each counts. */
async function send(client: PushClient): Promise<void> {
  const target = {
    tokens: [{ provider: 1, tokens: ["00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"] }],
  };
  const message = { title: "Order shipped", body: "Your order 1234 is on its way", data: { order_id: "1234" } };
  const bare = (requestId: string) =>
    new Promise<void>((resolve, reject) => {
      const request = create(SendNotificationRequestSchema, { appId: "shop", requestId, target, message });
      const deadline = Date.now() + 10_000;
      client.stub.sendNotification(request, { deadline }, (error) => (error ? reject(error) : resolve()));
    });
  const whole = (requestId: string): Promise<unknown> => client.send({ requestId, target, message });
  const spent = new Map<(requestId: string) => Promise<unknown>, number[]>([
    [bare, []],
    [whole, []],
  ]);
  for (let round = 0; round < ROUNDS; round++) {
    const turn = round % 2 ? [bare, whole] : [whole, bare];
    for (const call of turn) spent.get(call)?.push(await cpuOfCalls(call));
  }
  const [stub, sent] = [median(spent.get(bare)), median(spent.get(whole))];
  const more = ((sent / stub - 1) * 100).toFixed(1);
  console.log(`send: ${sent.toFixed(0)} µs of CPU a call, the bare stub ${stub.toFixed(0)} µs: ${more} % more`);
}

async function cpuOfCalls(call: (requestId: string) => Promise<unknown>): Promise<number> {
  const began = process.cpuUsage();
  for (let number = 0; number < CALLS; number++) await call(`order-${number}`);
  const { user, system } = process.cpuUsage(began);
  return (user + system) / CALLS;
}

function median(values: readonly number[] = []): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] as number;
}

async function serve(): Promise<void> {
  const page = Buffer.from(toBinary(StreamDeliveryStatusResponseSchema, pageOfEvents()));
  const end = create(StreamDeliveryStatusResponseSchema, { cursor: "end", signal: { case: "end", value: {} } });
  const endBytes = Buffer.from(toBinary(StreamDeliveryStatusResponseSchema, end));
  const definition = withRawPages(pushServiceDefinition);
  const server = new Server();
  server.addService(definition, {
    sendNotification(_: ServerUnaryCall<unknown, unknown>, answer: sendUnaryData<unknown>) {
      answer(null, create(SendNotificationResponseSchema, { notificationId: "n-1", targetCount: 1 }));
    },
    async streamDeliveryStatus(call: ServerWritableStream<unknown, Buffer>) {
      for (let sent = 0; sent < PAGES; sent++) if (!call.write(page)) await once(call, "drain");
      call.write(endBytes);
      call.end();
    },
  });
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    process.send?.(port);
  });
}

/** The service with pages as they are on the wire, so that making them costs the measured process nothing. */
function withRawPages(definition: typeof pushServiceDefinition): typeof pushServiceDefinition {
  const { streamDeliveryStatus } = definition;
  return {
    ...definition,
    streamDeliveryStatus: { ...streamDeliveryStatus, responseSerialize: (bytes: Buffer) => bytes },
  } as typeof pushServiceDefinition;
}

function pageOfEvents() {
  const events = Array.from({ length: EVENTS_PER_PAGE }, (_, position) => ({
    notificationId: "0192f0c1-7b1e-7a33-9a55-1234567890ab",
    requestId: `order-${position}`,
    deviceId: `0192f0c1-7b1e-7a33-9a55-${position}`,
    userId: `u-${position}`,
    token: "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0",
    provider: 1,
    state: 3,
    outcome: 1,
    providerMessageId: "EC1BF194-B3B2-424A-89A9-5A918A6E6B5E",
    attempt: 1,
    time: timestampFromDate(new Date()),
    final: true,
    eventId: `1234567890ab-${position}`,
    kind: 1,
    providerStatus: 200,
    labels: { campaign: "autumn" },
  }));
  return create(StreamDeliveryStatusResponseSchema, { events, cursor: "c".repeat(60) });
}
