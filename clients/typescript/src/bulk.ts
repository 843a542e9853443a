import { randomUUID } from "node:crypto";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type ClientDuplexStream, Metadata, type ServiceError } from "@grpc/grpc-js";
import { Backoff } from "./backoff.js";
import { clientClosed, errorOf, errorOfCall, errorOfSend, isLost, PushError, unencodable } from "./errors.js";
import {
  type SendNotificationRequest,
  SendNotificationRequestSchema,
  type SendNotificationResponse,
  SendNotificationsRequestSchema,
  type SendNotificationsResponse,
} from "./generated/pushrpc/v1/sending_pb.js";
import { PushService } from "./generated/pushrpc/v1/service_pb.js";
import { bufferOf, definitionOf, isClosed, type PushStub } from "./stub.js";

/** How to send in bulk. */
export interface BulkOptions {
  /** Give up on everything that waits after so many milliseconds without any receipt. Default: 60,000. */
  readonly timeoutMs?: number;
}

const SENDS_MAX = 500;
const TARGETS_MAX = 10_000;
const MESSAGE_BYTES_MAX = 4 * 1024 * 1024 - 1024; // the rest is for the message's own fields
const UNANSWERED_MAX = 4;
const FILL_MS = 5;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;

/** A send on its way, and whoever added it. */
interface Send {
  readonly requestId: string;
  readonly bytes: Uint8Array;
  readonly resolve: (receipt: SendNotificationResponse) => void;
  readonly reject: (error: unknown) => void;
}

/** Sends that go in one message. */
class Group {
  readonly sends: Send[] = [];
  #bytes = 0;
  #targets = 0;

  takes(bytes: number, targets: number): boolean {
    const fits = this.#bytes + bytes <= MESSAGE_BYTES_MAX && this.#targets + targets <= TARGETS_MAX;
    return this.sends.length === 0 || (fits && this.sends.length < SENDS_MAX);
  }

  add(send: Send, bytes: number, targets: number): void {
    this.sends.push(send);
    this.#bytes += bytes;
    this.#targets += targets;
  }

  get isFull(): boolean {
    return this.sends.length === SENDS_MAX;
  }
}

/**
 * Sends many small notifications over one stream, up to 500 in a message and at most 4 messages unanswered.
 *
 * A broken stream is opened again and what was not answered repeated, which is safe because of the request_id. Wait for
 * {@link ready} before each {@link add}: that keeps the memory bounded and passes on the server's pace. {@link close} it
 * in the end; an open stream keeps the process alive.
 */
export class BulkSender {
  readonly #stub: PushStub;
  readonly #appId: string;
  readonly #timeoutMs: number;
  readonly #backoff = new Backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  /** Full ones, the oldest first; those to come are in #filling. */
  readonly #full: Group[] = [];
  /** By sequence, the oldest first. */
  readonly #unanswered = new Map<bigint, Group>();
  readonly #waiting: (() => void)[] = [];
  readonly #closing: (() => void)[] = [];
  #filling = new Group();
  #filled: NodeJS.Timeout | undefined;
  #isDue = false;
  #sequence = 0n;
  #stream: ClientDuplexStream<Buffer, SendNotificationsResponse> | undefined;
  #reopening: NodeJS.Timeout | undefined;
  #silence: NodeJS.Timeout | undefined;
  #lastError: PushError | undefined;
  #isClosed = false;

  /** Made by {@link PushClient.bulk}. */
  constructor(stub: PushStub, appId: string, options: BulkOptions) {
    this.#stub = stub;
    this.#appId = appId;
    this.#timeoutMs = options.timeoutMs ?? 60_000;
  }

  /**
   * Puts a send on its way; makes a request_id when there is none. Resolves with its receipt, rejects with
   * {@link PushError} that has its `requestId`, in both cases without any effect on other sends.
   */
  add(request: MessageInitShape<typeof SendNotificationRequestSchema>): Promise<SendNotificationResponse> {
    const requestId = request.requestId || randomUUID();
    if (this.#isClosed) return Promise.reject(errorOf(requestId, clientClosed()));
    const message = create(SendNotificationRequestSchema, { ...request, requestId });
    let bytes: Uint8Array;
    try {
      bytes = toBinary(SendNotificationRequestSchema, message);
    } catch (error) {
      return Promise.reject(unencodable(error, requestId));
    }
    const size = bytes.length + 5; // its tag and length
    if (size > MESSAGE_BYTES_MAX) {
      const problem = `the request has ${bytes.length} bytes, a message takes ${MESSAGE_BYTES_MAX}; name fewer targets`;
      return Promise.reject(new PushError(problem, { code: "INVALID_ARGUMENT", reason: "FIELD_TOO_LONG", requestId }));
    }
    return new Promise((resolve, reject) => {
      const targets = targetCount(message);
      if (!this.#filling.takes(size, targets)) this.#fill();
      this.#filling.add({ requestId, bytes, resolve, reject }, size, targets);
      this.#watch();
      if (this.#filling.isFull) this.#fill();
      else this.#filled ??= setTimeout(() => this.#due(), FILL_MS);
      this.#pump();
    });
  }

  /** Resolves when there is room for another send. */
  ready(): Promise<void> {
    if (this.#hasRoom) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Takes no more sends; resolves once each one added has its receipt or error. */
  close(): Promise<void> {
    this.#isClosed = true;
    this.#due();
    return new Promise((resolve) => {
      this.#closing.push(resolve);
      this.#settle();
    });
  }

  get #hasRoom(): boolean {
    return this.#unanswered.size < UNANSWERED_MAX && this.#full.length === 0;
  }

  #fill(): void {
    this.#full.push(this.#filling);
    this.#startGroup();
  }

  #startGroup(): void {
    this.#filling = new Group();
    this.#isDue = false;
    clearTimeout(this.#filled);
    this.#filled = undefined;
  }

  #due(): void {
    this.#isDue = true;
    this.#pump();
  }

  /** Sends what may be sent now. */
  #pump(): void {
    if (this.#endsWithClient()) return;
    while (!this.#reopening && this.#unanswered.size < UNANSWERED_MAX) {
      const group = this.#full.shift() ?? this.#takeDue();
      if (!group) return;
      const sequence = ++this.#sequence;
      this.#unanswered.set(sequence, group);
      this.#stream ??= this.#open();
      this.#stream.write(messageOf(this.#appId, sequence, group));
    }
  }

  /** A stream goes on when its client is closed; there is no other after it. */
  #endsWithClient(): boolean {
    if (this.#stream || !isClosed(this.#stub)) return false;
    this.#failAll(clientClosed());
    return true;
  }

  #takeDue(): Group | undefined {
    if (!this.#isDue || this.#filling.sends.length === 0) return undefined;
    const group = this.#filling;
    this.#startGroup();
    return group;
  }

  #open(): ClientDuplexStream<Buffer, SendNotificationsResponse> {
    const { path, responseDeserialize } = definitionOf(PushService.method.sendNotifications);
    const stream = this.#stub.makeBidiStreamRequest<Buffer, SendNotificationsResponse>(
      path,
      (bytes) => bytes,
      responseDeserialize,
      new Metadata(),
    );
    stream.on("data", (response: SendNotificationsResponse) => {
      if (stream === this.#stream) this.#answered(response);
    });
    stream.on("error", (error: ServiceError) => {
      if (stream === this.#stream) this.#broken(errorOfCall(error));
    });
    stream.on("end", () => {
      // An error may follow in the same turn, and says more.
      setImmediate(() => {
        if (stream === this.#stream) this.#broken(new PushError("the stream ended", { code: "UNAVAILABLE" }));
      });
    });
    return stream;
  }

  #answered(response: SendNotificationsResponse): void {
    const group = this.#unanswered.get(response.sequence);
    if (!group) return;
    this.#unanswered.delete(response.sequence);
    this.#backoff.reset();
    this.#lastError = undefined;
    clearTimeout(this.#silence);
    this.#silence = undefined;
    for (const [position, send] of group.sends.entries()) {
      const result = response.receipts[position]?.result;
      if (result?.case === "accepted") send.resolve(result.value);
      else if (result?.case === "error") send.reject(errorOfSend(result.value, send.requestId));
      else {
        const { requestId } = send;
        send.reject(new PushError(`no receipt came for ${requestId}`, { code: "INTERNAL", requestId }));
      }
    }
    this.#pump();
    this.#settle();
  }

  #broken(error: PushError): void {
    this.#stream = undefined;
    this.#lastError = error;
    if (!isLost(error) && error.retryDelayMs === undefined) {
      this.#failAll(error);
    } else if (this.#isWaited) {
      this.#reopening = setTimeout(() => this.#repeat(), this.#backoff.next(error.retryDelayMs));
    }
  }

  #repeat(): void {
    this.#reopening = undefined;
    if (this.#endsWithClient()) return;
    for (const [sequence, group] of this.#unanswered) {
      this.#stream ??= this.#open();
      this.#stream.write(messageOf(this.#appId, sequence, group));
    }
    this.#pump();
  }

  /** Begins to count the silence, unless it is counted already or nobody waits. */
  #watch(): void {
    this.#silence ??= setTimeout(() => {
      const problem = `no receipt came for ${this.#timeoutMs} ms`;
      this.#failAll(this.#lastError ?? new PushError(problem, { code: "DEADLINE_EXCEEDED" }));
    }, this.#timeoutMs);
  }

  get #isWaited(): boolean {
    return this.#unanswered.size > 0 || this.#full.length > 0 || this.#filling.sends.length > 0;
  }

  #failAll(error: PushError): void {
    const groups = [...this.#unanswered.values(), ...this.#full, this.#filling];
    this.#unanswered.clear();
    this.#full.length = 0;
    this.#startGroup();
    clearTimeout(this.#reopening);
    this.#reopening = undefined;
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    for (const send of groups.flatMap((group) => group.sends)) send.reject(errorOf(send.requestId, error));
    this.#settle();
  }

  /** After sends were answered or given up: lets in who waits for room, and ends what waits for the end. */
  #settle(): void {
    if (this.#hasRoom) for (const resolve of this.#waiting.splice(0)) resolve();
    if (this.#isWaited) {
      this.#watch();
      return;
    }
    clearTimeout(this.#silence);
    this.#silence = undefined;
    if (!this.#isClosed) return;
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.end();
    for (const resolve of this.#closing.splice(0)) resolve();
  }
}

/** A SendNotificationsRequest put together from sends that are encoded already, so that a repeat costs nothing. */
function messageOf(appId: string, sequence: bigint, group: Group): Buffer {
  const head = toBinary(SendNotificationsRequestSchema, create(SendNotificationsRequestSchema, { appId, sequence }));
  const writer = new BinaryWriter().raw(head);
  const field = SendNotificationsRequestSchema.field.sends.number;
  for (const send of group.sends) writer.tag(field, WireType.LengthDelimited).bytes(send.bytes);
  return bufferOf(writer.finish());
}

function targetCount({ target }: SendNotificationRequest): number {
  if (!target) return 0;
  const named = target.deviceIds.length + target.userIds.length + target.providerAudiences.length;
  return target.tokens.reduce((sum, { tokens, subscriptions }) => sum + tokens.length + subscriptions.length, named);
}
