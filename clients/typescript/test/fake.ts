import { once } from "node:events";
import type { TestContext } from "node:test";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import {
  type Code,
  DeliveryState,
  PushClient,
  pushServiceDefinition,
  type SendNotificationsRequest,
  type SendNotificationsResponse,
  SendNotificationsResponseSchema,
  type StreamDeliveryStatusRequest,
  type StreamDeliveryStatusResponse,
  StreamDeliveryStatusResponseSchema,
} from "@pushrpc/client";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../src/generated/google/rpc/error_details_pb.js";
import { StatusSchema } from "../src/generated/google/rpc/status_pb.js";

export type FollowCall = ServerWritableStream<StreamDeliveryStatusRequest, StreamDeliveryStatusResponse>;
export type BulkCall = ServerDuplexStream<SendNotificationsRequest, SendNotificationsResponse>;
export type Call = ServerUnaryCall<{ requestId: string; appId: string }, unknown>;

/** A PushService that answers as a test tells it; it can be stopped and started again at the same address. */
export class FakeServer implements AsyncDisposable {
  readonly #handlers: UntypedServiceImplementation;
  readonly #credentials: ServerCredentials;
  #server: Server | undefined;
  port = 0;

  constructor(handlers: UntypedServiceImplementation, credentials = ServerCredentials.createInsecure()) {
    this.#handlers = handlers;
    this.#credentials = credentials;
  }

  static async start(handlers: UntypedServiceImplementation, credentials?: ServerCredentials): Promise<FakeServer> {
    const server = new FakeServer(handlers, credentials);
    await server.start();
    return server;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  client(): PushClient {
    return PushClient.connect(this.address, "shop", { plaintext: true });
  }

  start(): Promise<void> {
    const server = new Server();
    server.addService(pushServiceDefinition, this.#handlers);
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.bindAsync(this.address, this.#credentials, (error, port) => {
        this.port = port;
        if (error) reject(error);
        else resolve();
      });
    });
  }

  /** As a killed process does: connections break. */
  kill(): void {
    this.#server?.forceShutdown();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
  }
}

interface Refused {
  readonly retryMs?: number;
  readonly fields?: readonly string[];
  readonly metadata?: Record<string, string>;
  readonly domain?: string;
}

/** What a handler answers to refuse a call the way pushrpc does. */
export function refusal(
  code: Code,
  reason: string,
  { retryMs, fields, metadata, domain = "pushrpc.v1" }: Refused = {},
) {
  const details = [
    anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain, ...(metadata && { metadata }) })),
  ];
  if (fields) {
    const fieldViolations = fields.map((field) => ({ field, description: "is wrong" }));
    details.push(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations })));
  }
  if (retryMs !== undefined) {
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(retryMs) })));
  }
  const trailers = new Metadata();
  const rich = create(StatusSchema, { code: status[code], message: `refused: ${reason}`, details });
  trailers.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, rich)));
  return { code: status[code], details: `refused: ${reason}`, metadata: trailers };
}

/** A page of events with these ids. */
export function page(cursor: string, ...eventIds: string[]): StreamDeliveryStatusResponse {
  const events = eventIds.map((eventId) => ({ eventId, state: DeliveryState.SENT, final: true }));
  return create(StreamDeliveryStatusResponseSchema, { cursor, events });
}

/** A message without events. */
export function signal(
  cursor: string,
  told: NonNullable<MessageInitShape<typeof StreamDeliveryStatusResponseSchema>["signal"]>,
): StreamDeliveryStatusResponse {
  return create(StreamDeliveryStatusResponseSchema, { cursor, signal: told });
}

/** Lets what is timed in seconds pass so much faster; pauses between tries stay as they are. */
export function hurry({ mock }: TestContext, factor: number): void {
  const { setTimeout } = globalThis;
  const now = performance.now.bind(performance);
  const began = now();
  mock.method(performance, "now", () => began + (now() - began) * factor);
  const hurried = (callback: () => void, ms: number) => setTimeout(callback, ms > 5_000 ? ms / factor : ms);
  mock.method(globalThis, "setTimeout", hurried as typeof setTimeout);
}

/** Accepts all sends of a bulk message. */
export function accepted({ sequence, sends }: SendNotificationsRequest): SendNotificationsResponse {
  return create(SendNotificationsResponseSchema, {
    sequence,
    receipts: sends.map(({ requestId }) => ({
      requestId,
      result: { case: "accepted" as const, value: { notificationId: `n-${requestId}`, targetCount: 1 } },
    })),
  });
}

/** Whether the stream took more within so long. */
export async function drainsWithin(call: FollowCall, ms: number): Promise<boolean> {
  try {
    await once(call, "drain", { signal: AbortSignal.timeout(ms) });
    return true;
  } catch {
    return false;
  }
}
