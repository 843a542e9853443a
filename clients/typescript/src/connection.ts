import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import {
  CallCredentials,
  type ChannelCredentials,
  type ChannelOptions,
  type ClientOptions,
  credentials,
  InterceptingCall,
  type Interceptor,
  Metadata,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { OWN_DOMAIN } from "./errors.js";
import { ErrorInfoSchema } from "./generated/google/rpc/error_details_pb.js";
import { StatusSchema } from "./generated/google/rpc/status_pb.js";
import { PushService } from "./generated/pushrpc/v1/service_pb.js";
import { bufferOf, PushStub } from "./stub.js";

/** Certificates other than the system's, all in PEM. */
export interface TlsOptions {
  /** Authorities to trust instead of the system's. */
  readonly ca?: string | Uint8Array;
  /** The client's own certificate chain; needs `key`. */
  readonly cert?: string | Uint8Array;
  /** Its private key. */
  readonly key?: string | Uint8Array;
  /** The name the server's certificate must have, where it differs from the address. */
  readonly serverName?: string;
}

/** How to reach the server. */
export interface ConnectOptions {
  /** No encryption: for loopback, and where a mesh encrypts. Default: TLS with the system's authorities. */
  readonly plaintext?: boolean;
  /** Own certificates. */
  readonly tls?: TlsOptions;
  /** Bearer token sent with every call, or what makes it (called for every call, so let it cache). */
  readonly token?: string | (() => string | Promise<string>);
  /** How long a unary call may take, in milliseconds; a send gets its `wait` on top. Default: 10,000. */
  readonly timeoutMs?: number;
  /** Options of grpc-js that replace this client's own; your interceptors come before the token's. */
  readonly channelOptions?: ClientOptions;
}

/** Opens no connection yet: grpc-js does that with the first call. */
export function stubOf(address: string, options: ConnectOptions): PushStub {
  const { serverName } = options.tls ?? {};
  return new PushStub(address, channelCredentials(options), {
    ...CHANNEL,
    ...(serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName }),
    ...options.channelOptions,
    ...interceptorsOf(options),
  });
}

/** Those of the caller and ours, in the one of two options that the caller chose: grpc-js takes no more. */
function interceptorsOf({ token, channelOptions = {} }: ConnectOptions): ClientOptions {
  const own = token === undefined ? [] : [bearer(token)];
  const { interceptors = [], interceptor_providers: providers } = channelOptions;
  if (providers?.length) return { interceptor_providers: [...providers, ...own.map((each) => () => each)] };
  return { interceptors: [...interceptors, ...own] };
}

// May be repeated by the channel itself: a second one changes nothing. SendNotification is not among them, because
// without a request_id a repeat pushes twice; PushClient.send makes one and repeats by itself.
const REPEATABLE = [
  PushService.method.registerDevice,
  PushService.method.updateDevice,
  PushService.method.unregisterDevice,
  PushService.method.getDevice,
  PushService.method.listDevices,
  PushService.method.getNotification,
  PushService.method.listNotifications,
  PushService.method.listDeliveries,
  PushService.method.previewNotification,
  PushService.method.cancelNotification,
  PushService.method.reportEngagement,
  PushService.method.subscribeToTopic,
  PushService.method.unsubscribeFromTopic,
  PushService.method.listBroadcastChannels,
  PushService.method.getServerInfo,
];

const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: REPEATABLE.map((method) => ({ service: PushService.typeName, method: method.name })),
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

const CHANNEL: ChannelOptions = {
  "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
  "grpc.service_config_disable_resolution": 1, // no TXT look-ups: the config above is the one
  // The server allows a ping every 20 s, also without calls.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 5_000,
  // A page has up to 1 MiB; HTTP/2's default window of 64 KiB would cost a round trip for every part of it.
  "grpc-node.flow_control_window": 1024 * 1024,
  // Receipts of a full bulk message with every target rejected pass grpc-js' default of 4 MiB.
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
};

function channelCredentials({ plaintext, tls }: ConnectOptions): ChannelCredentials {
  if (plaintext) {
    if (tls) throw new TypeError("plaintext and tls exclude each other");
    return credentials.createInsecure();
  }
  return credentials.createSsl(pem(tls?.ca), pem(tls?.key), pem(tls?.cert));
}

function pem(text: string | Uint8Array | undefined): Buffer | null {
  return text === undefined ? null : Buffer.from(text);
}

// With each call and not with the channel's credentials, where grpc-js refuses them on the plaintext of a mesh.
function bearer(token: string | (() => string | Promise<string>)): Interceptor {
  return (options, nextCall) => {
    let problem: Partial<StatusObject> = {};
    const callCredentials = CallCredentials.createFromMetadataGenerator(async (_, callback) => {
      try {
        const metadata = new Metadata();
        metadata.set("authorization", `Bearer ${typeof token === "string" ? token : await token()}`);
        callback(null, metadata);
      } catch (error) {
        problem = tokenUnavailable(error);
        callback(Object.assign(new Error(problem.details), problem));
      }
    });
    return new InterceptingCall(nextCall({ ...options, credentials: callCredentials }), {
      start(metadata, _, next) {
        // grpc-js keeps no more of the problem than its code and message.
        next(metadata, { onReceiveStatus: (told, pass) => pass({ ...told, ...problem }) });
      },
    });
  };
}

function tokenUnavailable(error: unknown): StatusObject {
  const code = status.UNAUTHENTICATED;
  const details = `no bearer token: ${error instanceof Error ? error.message : error}`;
  const info = anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: "TOKEN_UNAVAILABLE", domain: OWN_DOMAIN }));
  const rich = create(StatusSchema, { code, message: details, details: [info] });
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", bufferOf(toBinary(StatusSchema, rich)));
  return { code, details, metadata };
}
