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
} from "@pushrpc/client";

interface Step {
  readonly name: string;
  readonly do: keyof typeof kinds;
  readonly request: JsonObject;
  readonly requests: readonly JsonObject[];
  readonly again?: boolean;
  readonly of: string;
  readonly why: string;
  readonly finals: number;
  readonly timeout_ms: number;
}

const STEP_MS = 60_000;

const [, , scenario, address] = process.argv;
if (!scenario || !address) throw new Error("usage: main.js scenario.json ADDRESS");
const client = PushClient.connect(address, "shop", { plaintext: true });
const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();
const notificationIds = new Map<string, string>();
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
    notificationIds.set(name, receipt.notificationId);
    const rejected = receipt.rejected.map(({ reason }) => RejectReason[reason]);
    return { target_count: receipt.targetCount, replayed: receipt.replayed, rejected };
  },

  async send_error({ request }: Step) {
    const error = await errorOf(client.send(parse(SendNotificationRequestSchema, request)));
    return { code: error.code, reason: error.reason, fields: error.fieldViolations.map(({ field }) => field) };
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
    const follower = client.follow({ notificationIds: [idOf(of)] });
    for await (const event of follower) states.push([event.token, DeliveryState[event.state], event.final]);
    return { states: states.sort(), ended: follower.counts !== undefined };
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
    const counts = await client.cancel({ notificationId: idOf(of) });
    return {
      cancelled_count: counts.cancelledCount,
      in_flight_count: counts.inFlightCount,
      already_final_count: counts.alreadyFinalCount,
    };
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

function idOf(name: string): string {
  const id = notificationIds.get(name);
  if (id === undefined) throw new Error(`nothing was sent in "${name}"`);
  return id;
}

function parse<Schema extends DescMessage>(schema: Schema, request: JsonObject): MessageShape<Schema> {
  return fromJson(schema, request);
}

function print(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
