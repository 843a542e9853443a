import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { type ServiceError, status } from "@grpc/grpc-js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./generated/google/rpc/error_details_pb.js";
import { StatusSchema } from "./generated/google/rpc/status_pb.js";
import type { SendFailure } from "./generated/pushrpc/v1/sending_pb.js";

/** Name of a gRPC status code other than OK. */
export type Code = Exclude<keyof typeof status, "OK">;

/** One wrong field of a request. */
export interface WrongField {
  /** Its path, such as "message.badge". */
  readonly field: string;
  /** What is wrong with it and what to do, for people. */
  readonly description: string;
}

/** What a {@link PushError} tells beside its message. */
export interface PushErrorDetails {
  readonly code: Code;
  readonly reason?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly fieldViolations?: readonly WrongField[];
  readonly retryDelayMs?: number | undefined;
  readonly requestId?: string | undefined;
  readonly cause?: unknown;
}

/** Why a call, or one send of a bulk stream, failed. */
export class PushError extends Error {
  override readonly name = "PushError";
  /** The gRPC status code. */
  readonly code: Code;
  /**
   * The server's reason, such as "REQUEST_ID_REUSED"; empty when the error does not come from pushrpc itself, also where
   * a proxy gives a reason of its own. This client adds CLIENT_CLOSED, TOKEN_UNAVAILABLE when no bearer token could be
   * made, and FIELD_TOO_LONG for a request that no server would read.
   */
  readonly reason: string;
  /** What the reason is about: field, limit, position, …. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Every wrong field of an INVALID_ARGUMENT. */
  readonly fieldViolations: readonly WrongField[];
  /** When the same call may work, in milliseconds from now; undefined where the server does not say. */
  readonly retryDelayMs: number | undefined;
  /** Of a failed send, also one that this client made: the same send under it pushes nothing twice. */
  readonly requestId: string | undefined;

  constructor(message: string, details: PushErrorDetails) {
    super(message, { cause: details.cause });
    this.code = details.code;
    this.reason = details.reason ?? "";
    this.metadata = details.metadata ?? {};
    this.fieldViolations = details.fieldViolations ?? [];
    this.retryDelayMs = details.retryDelayMs;
    this.requestId = details.requestId;
  }
}

/** Reads google.rpc error details (AIP-193) out of a call's status. What cannot be read is left out. */
export function errorOfCall(error: ServiceError): PushError {
  const code = codeOf(error.code);
  let details: PushErrorDetails = { code, cause: error };
  for (const any of detailsOf(error)) {
    const info = anyUnpack(any, ErrorInfoSchema);
    const bad = anyUnpack(any, BadRequestSchema);
    const retry = anyUnpack(any, RetryInfoSchema);
    if (info && DOMAINS.has(info.domain)) details = { ...details, reason: info.reason, metadata: info.metadata };
    if (bad) details = { ...details, fieldViolations: bad.fieldViolations.map(wrongField) };
    if (retry?.retryDelay) details = { ...details, retryDelayMs: durationMs(retry.retryDelay) };
  }
  return new PushError(error.details || code, details);
}

/** The same for one send of a bulk message. */
export function errorOfSend(failure: SendFailure, requestId: string): PushError {
  return new PushError(failure.detail, {
    code: codeOf(failure.code),
    reason: failure.reason,
    fieldViolations: failure.fieldViolations.map(wrongField),
    retryDelayMs: failure.retryAfter && durationMs(failure.retryAfter),
    requestId,
  });
}

/** The same error, told to whoever sent under this request_id. */
export function errorOf(requestId: string, error: PushError): PushError {
  return new PushError(error.message, { ...error, cause: error.cause, requestId });
}

/** A value that its field cannot hold, such as a badge beyond 32 bits; the cause's message names the field. */
export function unencodable(cause: unknown, requestId?: string): PushError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new PushError(message, { code: "INVALID_ARGUMENT", cause, requestId });
}

/** A request that no server would read. */
export function tooLong(bytes: number, limit: number, requestId?: string): PushError {
  const problem = `the request has ${bytes} bytes, the limit is ${limit}; name fewer targets`;
  return new PushError(problem, { code: "INVALID_ARGUMENT", reason: "FIELD_TOO_LONG", requestId });
}

export function clientClosed(cause?: unknown): PushError {
  return new PushError("the client is closed", { code: "CANCELLED", reason: "CLIENT_CLOSED", cause });
}

/**
 * Whether the server may not have seen the call, or its answer was lost on the way. pushrpc's own errors carry a reason;
 * what has none comes from a broken connection or from a proxy.
 */
export function isLost(error: PushError): boolean {
  return error.code === "UNAVAILABLE" || (error.reason === "" && LOST.has(error.code));
}

/** What asking again does not change. All else passes: lost connections, DRAINING, SLOW_READER, TOO_MANY_STREAMS, …. */
export function isFinal(error: PushError): boolean {
  return FINAL.has(error.code);
}

/** Of what this client tells by way of gRPC. */
export const OWN_DOMAIN = "pushrpc.client";

/** Whose reasons are the contract's or this client's; a proxy's mean something else. */
const DOMAINS: ReadonlySet<string> = new Set(["pushrpc.v1", OWN_DOMAIN]);

const FINAL: ReadonlySet<Code> = new Set<Code>([
  "INVALID_ARGUMENT",
  "NOT_FOUND",
  "OUT_OF_RANGE",
  "ALREADY_EXISTS",
  "FAILED_PRECONDITION",
  "UNIMPLEMENTED",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
]);

const LOST: ReadonlySet<Code> = new Set<Code>(["CANCELLED", "INTERNAL", "UNKNOWN"]);

function codeOf(code: number): Code {
  const name = status[code] as keyof typeof status | undefined;
  return name === undefined || name === "OK" ? "UNKNOWN" : name;
}

function detailsOf(error: ServiceError) {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!Buffer.isBuffer(bytes)) return [];
  try {
    return fromBinary(StatusSchema, bytes).details;
  } catch {
    return []; // a proxy's own, or cut: the code and the message still stand
  }
}

function wrongField({ field, description }: WrongField): WrongField {
  return { field, description };
}
