import { type DescMessage, type DescMethod, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import {
  type CallOptions,
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  connectivityState,
  type Metadata,
  type MethodDefinition,
  makeClientConstructor,
  type ServiceDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { PushService } from "./generated/pushrpc/v1/service_pb.js";

/** The generated service in the form of grpc-js; with it a test can serve its own PushService on a grpc-js Server. */
export const pushServiceDefinition: ServiceDefinition = Object.fromEntries(
  PushService.methods.map((method) => [method.localName, definitionOf(method)]),
);

/** The bare stub: every method of the service as grpc-js has them, messages made with `create(…Schema, …)`. */
export type PushStub = Client & { readonly [K in keyof Methods]: StubMethod<Methods[K]> };

/** Constructor of the bare stub. */
export const PushStub = makeClientConstructor(pushServiceDefinition, PushService.typeName) as unknown as new (
  ...args: ConstructorParameters<typeof Client>
) => PushStub;

/** Whether it was closed; grpc-js throws plain errors from then on. */
export function isClosed(stub: PushStub): boolean {
  return stub.getChannel().getConnectivityState(false) === connectivityState.SHUTDOWN;
}

/** How one method's messages are written and read. */
export function definitionOf<I extends DescMessage, O extends DescMessage>(
  method: DescMethod & { readonly input: I; readonly output: O },
): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  const path = `/${method.parent.typeName}/${method.name}`;
  return {
    path,
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: (message) => bufferOf(toBinary(method.input, message)),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: (message) => bufferOf(toBinary(method.output, message)),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

/** The same bytes as a Buffer, which is what grpc-js writes. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

type Methods = typeof PushService.method;

interface UnaryMethod<Request, Response> {
  (request: Request, callback: UnaryCallback<Response>): ClientUnaryCall;
  (request: Request, options: CallOptions, callback: UnaryCallback<Response>): ClientUnaryCall;
  (request: Request, metadata: Metadata, options: CallOptions, callback: UnaryCallback<Response>): ClientUnaryCall;
}

type UnaryCallback<Response> = (error: ServiceError | null, response?: Response) => void;

interface ReadMethod<Request, Response> {
  (request: Request, options?: CallOptions): ClientReadableStream<Response>;
  (request: Request, metadata: Metadata, options?: CallOptions): ClientReadableStream<Response>;
}

interface DuplexMethod<Request, Response> {
  (options?: CallOptions): ClientDuplexStream<Request, Response>;
  (metadata: Metadata, options?: CallOptions): ClientDuplexStream<Request, Response>;
}

type StubMethod<M> = M extends {
  readonly methodKind: infer Kind;
  readonly input: infer I extends DescMessage;
  readonly output: infer O extends DescMessage;
}
  ? Kind extends "unary"
    ? UnaryMethod<MessageShape<I>, MessageShape<O>>
    : Kind extends "server_streaming"
      ? ReadMethod<MessageShape<I>, MessageShape<O>>
      : DuplexMethod<MessageShape<I>, MessageShape<O>>
  : never;
