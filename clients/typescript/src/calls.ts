import type { DescMessage, DescMethod, MessageShape } from "@bufbuild/protobuf";
import { Metadata, type MethodDefinition } from "@grpc/grpc-js";
import { clientClosed, errorOfCall, type PushError, unencodable } from "./errors.js";
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

/** One call until the deadline, in milliseconds since 1970. Rejects with PushError, or the signal's reason. */
export function callUnary<I extends DescMessage, O extends DescMessage>(
  stub: PushStub,
  method: UnaryMethod<I, O>,
  request: MessageShape<I>,
  deadline: number,
  signal?: AbortSignal,
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
      try {
        return definition.requestSerialize(message);
      } catch (error) {
        problem = unencodable(error); // grpc-js says INTERNAL, which looks like a lost answer
        throw error;
      }
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
        if (signal?.aborted) reject(signal.reason);
        else if (error) reject(problem ?? closedOr(errorOfCall(error), stub));
        else resolve(response as MessageShape<O>);
      },
    );
    function cancel() {
      call.cancel();
    }
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

/** A call that waits for the connection when its client is closed only hears UNAVAILABLE from grpc-js. */
function closedOr(error: PushError, stub: PushStub): PushError {
  return error.code === "UNAVAILABLE" && error.reason === "" && isClosed(stub) ? clientClosed(error) : error;
}
