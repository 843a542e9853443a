import { create } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { Backoff, sleep } from "./backoff.js";
import { clientClosed, errorOfCall, isFinal, PushError } from "./errors.js";
import { StreamStart } from "./generated/pushrpc/v1/enums_pb.js";
import {
  type DeliveryCounts,
  DeliveryCountsSchema,
  type DeliveryEvent,
  type StreamDeliveryStatusRequest,
  type StreamDeliveryStatusResponse,
} from "./generated/pushrpc/v1/following_pb.js";
import { isClosed, type PushStub } from "./stub.js";

/** How to follow. */
export interface FollowOptions {
  /** Ends the iteration, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told of every break, and of the pause before the next try in milliseconds; for logs. */
  readonly onInterrupted?: (error: PushError, pauseMs: number) => void;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** The server speaks at least every 15 s; so long a silence means that something between us has died. */
const SILENCE_MAX_MS = 60_000;
/** So long the first stream may take to begin, with all its tries; a wrong address must not go unnoticed. */
const OPENING_MAX_MS = 20_000;

/**
 * The events of deliveries, one by one, through any number of connections, without gap or repeat.
 *
 * Iterate it once: `for await (const event of follower)`. The loop ends when all named notifications are final, and
 * throws {@link PushError} when the server refuses for good (CURSOR_EXPIRED, NOTIFICATION_NOT_FOUND, …), or when no stream
 * has begun within 20 s; once one has, it comes back for ever, until the client is closed (CLIENT_CLOSED). A loop that is
 * slow slows the server: at most 16 pages of 500 events are read ahead.
 */
export class Follower implements AsyncIterable<DeliveryEvent> {
  readonly #stub: PushStub;
  readonly #request: StreamDeliveryStatusRequest;
  readonly #options: FollowOptions;
  readonly #clientClosing: AbortSignal;
  readonly #closing = new AbortController();
  readonly #messages: AsyncGenerator<StreamDeliveryStatusResponse, void>;
  readonly #events: AsyncGenerator<DeliveryEvent, void>;
  #opening: Promise<IteratorResult<StreamDeliveryStatusResponse, void>> | undefined;
  #counts: DeliveryCounts | undefined;

  /** Made by {@link PushClient.follow}. `request` becomes the follower's own. */
  constructor(
    stub: PushStub,
    request: StreamDeliveryStatusRequest,
    options: FollowOptions,
    clientClosing: AbortSignal,
  ) {
    this.#stub = stub;
    this.#request = request;
    if (request.cursor !== "") request.start = StreamStart.UNSPECIFIED; // the server refuses both
    this.#options = options;
    this.#clientClosing = clientClosing;
    this.#messages = this.#readMessages();
    this.#events = this.#readEvents();
  }

  /**
   * Where to resume: everything up to here was handed out. It moves with the last event of each page, so keep it once
   * that event is dealt with. What came after it is told again to who resumes there.
   */
  get cursor(): string {
    return this.#request.cursor;
  }

  /** The named notifications' deliveries by state, once the iteration ended by itself; all 0 of a whole app. */
  get counts(): DeliveryCounts | undefined {
    return this.#counts;
  }

  /**
   * Connects now instead of with the first event; resolves once the server has said where it begins. Of a whole app
   * from now on, everything that is sent after that is told. Rejects after 20 s, with the last {@link PushError}, or with
   * UNAVAILABLE when the server was silent all the time.
   */
  async open(): Promise<void> {
    this.#opening ??= this.#messages.next();
    await this.#opening;
  }

  /** Ends the iteration without an error, from anywhere. */
  close(): void {
    this.#closing.abort();
  }

  [Symbol.asyncIterator](): AsyncGenerator<DeliveryEvent, void> {
    return this.#events;
  }

  async *#readEvents(): AsyncGenerator<DeliveryEvent, void> {
    try {
      await this.open();
      let next = await this.#opening;
      while (next && !next.done) {
        const { events, cursor } = next.value;
        for (const [position, event] of events.entries()) {
          if (position === events.length - 1) this.#moveTo(cursor);
          yield event;
          if (this.#closing.signal.aborted) return;
        }
        next = await this.#messages.next();
      }
    } finally {
      await this.#messages.return();
    }
  }

  /** Pages of events, and the first message whatever it is. */
  async *#readMessages(): AsyncGenerator<StreamDeliveryStatusResponse, void> {
    const backoff = new Backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    const { signal } = this.#options;
    const closing = this.#closing.signal;
    const ending = AbortSignal.any([closing, this.#clientClosing, ...(signal ? [signal] : [])]);
    let isOpen = false;
    let failsAt = performance.now() + OPENING_MAX_MS;
    let last: PushError | undefined;
    while (!closing.aborted) {
      signal?.throwIfAborted();
      let pauseMs: number | undefined;
      if (isClosed(this.#stub)) throw clientClosed();
      const stream = new MessageStream(this.#stub.streamDeliveryStatus(this.#request), ending);
      const next = () => stream.next(Math.min(SILENCE_MAX_MS, failsAt - performance.now()));
      try {
        for (let message = await next(); message; message = await next()) {
          backoff.reset();
          failsAt = Number.POSITIVE_INFINITY;
          const isPage = message.events.length > 0;
          if (!isPage) this.#moveTo(message.cursor);
          if (message.signal.case === "end") {
            this.#counts = message.signal.value.counts ?? create(DeliveryCountsSchema);
            return;
          }
          if (message.signal.case === "reconnect") {
            pauseMs = message.signal.value.delay ? durationMs(message.signal.value.delay) : 0;
            break;
          }
          if (isPage || !isOpen) {
            isOpen = true;
            yield message;
          }
        }
        if (pauseMs === undefined) {
          last = new PushError("the stream ended early", { code: "UNAVAILABLE" });
          pauseMs = backoff.next();
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (closing.aborted) return;
        if (isClosed(this.#stub)) throw clientClosed(error);
        if (!(error instanceof PushError) || isFinal(error)) throw error;
        if (!stream.isSilent) last = error; // what was said tells more
        pauseMs = backoff.next(error.retryDelayMs);
        this.#options.onInterrupted?.(error, pauseMs);
      } finally {
        stream.cancel();
      }
      await sleep(Math.min(pauseMs, Math.max(failsAt - performance.now(), 0)), ending).catch(() => {});
      if (!ending.aborted && performance.now() >= failsAt) throw last ?? unopened();
    }
  }

  #moveTo(cursor: string): void {
    this.#request.cursor = cursor;
    this.#request.start = StreamStart.UNSPECIFIED; // excludes a cursor
  }
}

function unopened(): PushError {
  return new PushError(`the server said nothing for ${OPENING_MAX_MS} ms`, { code: "UNAVAILABLE" });
}

/** One connection's messages, read no faster than they are asked for. */
class MessageStream {
  readonly #call: ClientReadableStream<StreamDeliveryStatusResponse>;
  readonly #messages: AsyncIterator<StreamDeliveryStatusResponse>;
  readonly #cancel = () => this.#call.cancel();
  readonly #ending: AbortSignal;
  #isSilent = false;

  constructor(call: ClientReadableStream<StreamDeliveryStatusResponse>, ending: AbortSignal) {
    this.#call = call;
    this.#messages = call[Symbol.asyncIterator]();
    this.#ending = ending;
    call.on("error", () => {}); // also when nobody waits for a message
    ending.addEventListener("abort", this.#cancel, { once: true });
  }

  /** Undefined after the last. Rejects with PushError, also after so long a silence. */
  async next(silenceMs: number): Promise<StreamDeliveryStatusResponse | undefined> {
    const silence = setTimeout(() => {
      this.#isSilent = true;
      this.#cancel();
    }, silenceMs);
    try {
      const { done, value } = await this.#messages.next();
      return done ? undefined : value;
    } catch (error) {
      if (!this.#isSilent) throw errorOfCall(error as ServiceError);
      const problem = `the server said nothing for ${Math.ceil(silenceMs)} ms`;
      throw new PushError(problem, { code: "UNAVAILABLE", cause: error });
    } finally {
      clearTimeout(silence);
    }
  }

  /** Whether it was given up because nothing was said. */
  get isSilent(): boolean {
    return this.#isSilent;
  }

  cancel(): void {
    this.#ending.removeEventListener("abort", this.#cancel);
    this.#cancel();
  }
}
