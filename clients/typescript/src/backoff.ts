import { setTimeout } from "node:timers/promises";

/** Pauses that double from the first to the longest, each cut by up to a half at random. */
export class Backoff {
  readonly #firstMs: number;
  readonly #longestMs: number;
  #nextMs: number;

  constructor(firstMs: number, longestMs: number) {
    this.#firstMs = this.#nextMs = firstMs;
    this.#longestMs = longestMs;
  }

  /** Milliseconds to wait now, never less than `atLeastMs`, which is what a server asked for. */
  next(atLeastMs = 0): number {
    const pauseMs = this.#nextMs * (1 - Math.random() / 2);
    this.#nextMs = Math.min(this.#nextMs * 2, this.#longestMs);
    return Math.max(pauseMs, atLeastMs);
  }

  /** Begins anew: it worked. */
  reset(): void {
    this.#nextMs = this.#firstMs;
  }
}

/** Rejects with the signal's reason when that comes first. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await setTimeout(ms, undefined, signal && { signal });
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  }
}
