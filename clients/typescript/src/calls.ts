import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { type ClientUnaryCall, Metadata, type MethodDefinition } from "@grpc/grpc-js";
import { clientClosed, errorOfCall, type PushError, tooLong, unencodable } from "./errors.js";
import { isClosed, type PushStub, pushServiceDefinition } from "./stub.js";

/** Limits of one unary call. */
export interface CallOptions {
  /** How long it may take with all its repeats, in milliseconds; replaces the client's own. */
  readonly timeoutMs?: number;
  /** Cancels the call, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A method of the service with one request and one response. */
export type UnaryMethod<I extends DescMessage, O extends DescMessage> = DescMethod & {
  readonly methodKind: "unary";
  readonly input: I;
  readonly output: O;
};

/** What ends one call. */
export interface Limits {
  /** In milliseconds since 1970. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
  /** Where it is while it lasts, so that closing the client cancels it. */
  readonly underWay: Set<ClientUnaryCall>;
}

/** What the server reads. */
const REQUEST_BYTES_MAX = 4 * 1024 * 1024;

/** One call. Rejects with PushError, or the signal's reason. */
export function callUnary<I extends DescMessage, O extends DescMessage>(
  stub: PushStub,
  method: UnaryMethod<I, O>,
  request: MessageShape<I>,
  { deadline, signal, underWay }: Limits,
): Promise<MessageShape<O>> {
  const definition = pushServiceDefinition[method.localName] as MethodDefinition<MessageShape<I>, MessageShape<O>>;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    if (isClosed(stub)) {
      reject(clientClosed());
      return;
    }
    let problem: PushError | undefined;
    const serialize = (message: MessageShape<I>) => {
      const bytes = encoded(() => definition.requestSerialize(message));
      if (Buffer.isBuffer(bytes)) return bytes;
      problem = bytes; // grpc-js says INTERNAL, which looks like a lost answer
      throw bytes;
    };
    const call = stub.makeUnaryRequest(
      definition.path,
      serialize,
      definition.responseDeserialize,
      request,
      new Metadata(),
      { deadline },
      (error, response) => {
        signal?.removeEventListener("abort", cancel);
        underWay.delete(call);
        if (signal?.aborted) reject(signal.reason);
        else if (error) reject(problem ?? closedOr(errorOfCall(error), stub));
        else resolve(response as MessageShape<O>);
      },
    );
    underWay.add(call);
    function cancel() {
      call.cancel();
    }
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

/** What goes on the wire, or why it must not. */
function encoded(serialize: () => Buffer): Buffer | PushError {
  try {
    const bytes = serialize();
    return bytes.length > REQUEST_BYTES_MAX ? tooLong(bytes.length, REQUEST_BYTES_MAX) : bytes;
  } catch (error) {
    return unencodable(error);
  }
}

/** What closing the client does to a call is UNAVAILABLE or CANCELLED to grpc-js. */
function closedOr(error: PushError, stub: PushStub): PushError {
  const isCut = error.code === "UNAVAILABLE" || error.code === "CANCELLED";
  return isCut && error.reason === "" && isClosed(stub) ? clientClosed(error) : error;
}
