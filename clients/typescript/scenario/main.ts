// Plays clients/scenarios/scenario.json through the public client: node main.js scenario.json ADDRESS
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { setTimeout } from "node:timers/promises";
import { type DescMessage, fromJson, type JsonObject, type MessageShape } from "@bufbuild/protobuf";
import {
  DeliveryState,
  type Follower,
  PushClient,
  PushError,
  RegisterDeviceRequestSchema,
  RejectReason,
  SendNotificationRequestSchema,
  type SendNotificationResponse,
  StreamStart,
} from "@pushrpc/client";

interface Step {
  readonly name: string;
  readonly do: keyof typeof kinds;
  readonly request: JsonObject;
  readonly requests: readonly JsonObject[];
  readonly again?: boolean;
  readonly of?: string;
  readonly cursor?: string;
  readonly why: string;
  readonly finals: number;
  readonly timeout_ms: number;
}

const STEP_MS = 60_000;
const AT_ONCE_MS = 4_000; // less than any time that a server asks callers to wait
const CLOSE_AFTER_MS = 300;

const [, , scenario, address] = process.argv;
if (!scenario || !address) throw new Error("usage: main.js scenario.json ADDRESS");
const target = address;
const client = PushClient.connect(target, "shop", { plaintext: true });
const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();
const receipts = new Map<string, SendNotificationResponse>();
let appFollower: Follower | undefined;
let background = Promise.resolve();
const seen = { tokens: [] as string[], eventIds: new Set<string>(), repeats: 0, told: () => {} };

const kinds = {
  async register({ request }: Step) {
    const { created, device } = await client.register(parse(RegisterDeviceRequestSchema, request));
    return { created, user_id: device?.userId };
  },

  async send({ name, request, again }: Step) {
    const message = parse(SendNotificationRequestSchema, request);
    let receipt = await client.send(message);
    if (again) receipt = await client.send(message);
    receipts.set(name, receipt);
    const rejected = receipt.rejected.map(({ reason }) => RejectReason[reason]);
    return { target_count: receipt.targetCount, replayed: receipt.replayed, rejected };
  },

  async send_error({ request }: Step) {
    const began = performance.now();
    const error = await errorOf(client.send(parse(SendNotificationRequestSchema, request)));
    return {
      code: error.code,
      reason: error.reason,
      fields: error.fieldViolations.map(({ field }) => field),
      retry_after_s: (error.retryDelayMs ?? 0) / 1_000,
      at_once: performance.now() - began < AT_ONCE_MS,
    };
  },

  async bulk({ requests }: Step) {
    const bulk = client.bulk();
    const errors: string[][] = [];
    let accepted = 0;
    const answers: Promise<void>[] = [];
    for (const request of requests) {
      const message = parse(SendNotificationRequestSchema, request);
      await bulk.ready();
      answers.push(
        bulk.add(message).then(
          () => {
            accepted++;
          },
          (error: PushError) => {
            errors.push([message.requestId, error.reason]);
          },
        ),
      );
    }
    await bulk.close();
    await Promise.all(answers);
    return { accepted, errors };
  },

  async follow({ of }: Step) {
    const states: [string, string | undefined, boolean][] = [];
    const follower = client.follow({ notificationIds: [receiptOf(of).notificationId] });
    for await (const event of follower) states.push([event.token, DeliveryState[event.state], event.final]);
    return { states: states.sort(), ended: follower.counts !== undefined };
  },

  async follow_error({ of, cursor }: Step) {
    const error = await errorOf(drain(client.follow({ cursor: cursor ?? receiptOf(of).cursor })));
    return { code: error.code, reason: error.reason, tells_oldest: Boolean(error.metadata.oldest_cursor) };
  },

  /** What there is of the app, from a cursor where it has one. */
  async replay({ of }: Step) {
    const cursor = of === undefined ? "" : receiptOf(of).cursor;
    const follower = client.follow({ cursor, start: StreamStart.OLDEST, untilCaughtUp: true });
    const tokens: string[] = [];
    for await (const event of follower) if (event.final) tokens.push(event.token);
    return { tokens: tokens.sort(), ended: follower.counts !== undefined };
  },

  async follow_app() {
    const follower = client.follow();
    await follower.open();
    appFollower = follower;
    background = collect(follower);
    return { following: true };
  },

  async pause({ why }: Step) {
    print({ pause: why });
    await lines.next();
    return { resumed: true };
  },

  async collect({ finals }: Step) {
    while (seen.tokens.length < finals) {
      await new Promise<void>((resolve, reject) => {
        seen.told = resolve;
        background.then(() => reject(new Error("the follower ended")), reject);
      });
    }
    return { finals: seen.tokens.length, tokens: seen.tokens.toSorted(), repeats: seen.repeats };
  },

  async cancel({ of }: Step) {
    const counts = await client.cancel({ notificationId: receiptOf(of).notificationId });
    return {
      cancelled_count: counts.cancelledCount,
      in_flight_count: counts.inFlightCount,
      already_final_count: counts.alreadyFinalCount,
    };
  },

  async close() {
    const closing = PushClient.connect(target, "shop", { plaintext: true });
    const follower = closing.follow();
    await follower.open();
    const ended = errorOf(drain(follower));
    await setTimeout(CLOSE_AFTER_MS);
    closing.close();
    const { code, reason } = await ended;
    return { code, reason };
  },

  async deadline({ timeout_ms: timeoutMs }: Step) {
    const silent = PushClient.connect(process.env.PUSHRPC_SILENT ?? "", "shop", { plaintext: true });
    const began = performance.now();
    const error = await errorOf(silent.send({ message: { title: "Hello" } }, { timeoutMs }));
    silent.close();
    return { code: error.code, took_too_long: performance.now() - began > timeoutMs + 5_000 };
  },
};

for (const step of JSON.parse(readFileSync(scenario, "utf8")) as Step[]) {
  try {
    print({ step: step.name, result: await Promise.race([kinds[step.do](step), late()]) });
  } catch (error) {
    print({ step: step.name, failed: String(error) });
  }
}
appFollower?.close();
await background;
input.close();
client.close();

async function late(): Promise<never> {
  await setTimeout(STEP_MS, undefined, { ref: false });
  throw new Error(`it took more than ${STEP_MS} ms`);
}

async function collect(follower: Follower): Promise<void> {
  for await (const event of follower) {
    if (seen.eventIds.has(event.eventId)) seen.repeats++;
    seen.eventIds.add(event.eventId);
    if (event.final) seen.tokens.push(event.token);
    seen.told();
  }
}

async function errorOf(answer: Promise<unknown>): Promise<PushError> {
  try {
    await answer;
  } catch (error) {
    if (error instanceof PushError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

async function drain(follower: Follower): Promise<void> {
  for await (const _ of follower);
}

function receiptOf(name = ""): SendNotificationResponse {
  const receipt = receipts.get(name);
  if (receipt === undefined) throw new Error(`nothing was sent in "${name}"`);
  return receipt;
}

function parse<Schema extends DescMessage>(schema: Schema, request: JsonObject): MessageShape<Schema> {
  return fromJson(schema, request);
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
