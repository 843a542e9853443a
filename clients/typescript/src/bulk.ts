import { randomUUID } from "node:crypto";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type ClientDuplexStream, Metadata, type ServiceError } from "@grpc/grpc-js";
import { Backoff } from "./backoff.js";
import { clientClosed, errorOf, errorOfCall, errorOfSend, isFinal, PushError, tooLong, unencodable } from "./errors.js";
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
  /** After so many milliseconds without any receipt, a stream is given up for another. Default: 60,000. */
  readonly timeoutMs?: number;
}

const SENDS_MAX = 500;
const TARGETS_MAX = 10_000;
const MESSAGE_BYTES_MAX = 4 * 1024 * 1024 - 1024; // the rest is for the message's own fields
const UNANSWERED_MAX = 4;
const FILL_MS = 5;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** So long another stream may take to answer, after one was given up; as long as a follower's first may. */
const OPENING_MAX_MS = 20_000;

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
 * A stream that breaks, or brings no receipt for 60 s, is opened again and what was not answered repeated, which is safe
 * because of the request_id. When none brings a receipt for 20 s more, what waits is rejected with UNAVAILABLE: whether it
 * was accepted is not known then, and to send it again under its request_id is safe. A refusal that asking again does not
 * change, such as UNAUTHENTICATED, rejects what waits at once. Either way later sends start anew.
 *
 * Wait for {@link ready} before each {@link add}: that keeps the memory bounded and passes on the server's pace. {@link
 * close} it in the end; an open stream keeps the process alive.
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
  #openedAt = 0;
  /** When a receipt came, or the first send that waits for one. */
  #heardAt = 0;
  #silence: NodeJS.Timeout | undefined;
  #lastError: PushError | undefined;
  #isClosed = false;
  readonly #clientClosing: AbortSignal;
  readonly #endWithClient = () => this.#failAll(clientClosed());

  /** Made by {@link PushClient.bulk}. */
  constructor(stub: PushStub, appId: string, options: BulkOptions, clientClosing: AbortSignal) {
    this.#stub = stub;
    this.#appId = appId;
    this.#timeoutMs = options.timeoutMs ?? 60_000;
    this.#clientClosing = clientClosing;
    clientClosing.addEventListener("abort", this.#endWithClient, { once: true });
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
    if (size > MESSAGE_BYTES_MAX) return Promise.reject(tooLong(size, MESSAGE_BYTES_MAX, requestId));
    return new Promise((resolve, reject) => {
      if (!this.#isWaited) this.#heardAt = performance.now();
      const targets = targetCount(message);
      if (!this.#filling.takes(size, targets)) this.#fill();
      this.#filling.add({ requestId, bytes, resolve, reject }, size, targets);
      if (!this.#silence) this.#watch();
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
      this.#write(sequence, group);
    }
  }

  #write(sequence: bigint, group: Group): void {
    if (!this.#stream) {
      this.#stream = this.#open();
      this.#openedAt = performance.now();
      this.#watch();
    }
    this.#stream.write(messageOf(this.#appId, sequence, group));
  }

  /** Of a send that is added after the client was closed. */
  #endsWithClient(): boolean {
    if (!isClosed(this.#stub)) return false;
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
    this.#heardAt = performance.now();
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
    if (isFinal(error)) {
      this.#failAll(error);
    } else if (this.#isWaited) {
      this.#reopening = setTimeout(() => this.#repeat(), this.#backoff.next(error.retryDelayMs));
    }
  }

  #repeat(): void {
    this.#reopening = undefined;
    for (const [sequence, group] of this.#unanswered) this.#write(sequence, group);
    this.#pump();
  }

  /** Sets the clock to when the silence of this stream, or of all, will have been too long. */
  #watch(): void {
    clearTimeout(this.#silence);
    this.#silence = undefined;
    if (!this.#isWaited) return;
    const failsAt = this.#heardAt + this.#timeoutMs + OPENING_MAX_MS;
    const leavesAt = this.#stream ? Math.max(this.#heardAt, this.#openedAt) + this.#timeoutMs : failsAt;
    this.#silence = setTimeout(() => {
      if (performance.now() >= failsAt) this.#failAll(this.#unheard());
      else if (performance.now() >= leavesAt) this.#leave();
      this.#watch();
    }, Math.min(failsAt, leavesAt) - performance.now());
  }

  /** A stream that has been silent for too long, for another. */
  #leave(): void {
    const silent = this.#stream;
    this.#broken(new PushError(`no answer came within ${this.#timeoutMs} ms`, { code: "UNAVAILABLE" }));
    silent?.cancel();
  }

  #unheard(): PushError {
    const last = this.#lastError ? ` (${this.#lastError.message})` : "";
    const problem = `no answer came within ${this.#timeoutMs + OPENING_MAX_MS} ms${last}`;
    const advice = "it is not known whether this was accepted: send it again under its request_id";
    return new PushError(`${problem}; ${advice}`, { code: "UNAVAILABLE", cause: this.#lastError });
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
    this.#watch();
    if (this.#isWaited || !this.#isClosed) return;
    this.#clientClosing.removeEventListener("abort", this.#endWithClient);
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
