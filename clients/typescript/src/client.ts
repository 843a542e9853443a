import { randomUUID } from "node:crypto";
import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { ClientUnaryCall } from "@grpc/grpc-js";
import { Backoff, sleep } from "./backoff.js";
import { type BulkOptions, BulkSender } from "./bulk.js";
import { type CallOptions, callUnary, type UnaryMethod } from "./calls.js";
import { type ConnectOptions, stubOf } from "./connection.js";
import { errorOf, isLost, PushError } from "./errors.js";
import { Follower, type FollowOptions } from "./follow.js";
import type {
  CreateBroadcastChannelRequestSchema,
  CreateBroadcastChannelResponse,
  DeleteBroadcastChannelRequestSchema,
  DeleteBroadcastChannelResponse,
  ListBroadcastChannelsRequestSchema,
  ListBroadcastChannelsResponse,
  SubscribeToTopicRequestSchema,
  SubscribeToTopicResponse,
  UnsubscribeFromTopicRequestSchema,
  UnsubscribeFromTopicResponse,
} from "./generated/pushrpc/v1/audiences_pb.js";
import type {
  GetDeviceRequestSchema,
  GetDeviceResponse,
  ListDevicesRequestSchema,
  ListDevicesResponse,
  RegisterDeviceRequestSchema,
  RegisterDeviceResponse,
  UnregisterDeviceRequestSchema,
  UnregisterDeviceResponse,
  UpdateDeviceRequestSchema,
  UpdateDeviceResponse,
} from "./generated/pushrpc/v1/devices_pb.js";
import {
  type GetNotificationRequestSchema,
  type GetNotificationResponse,
  type ListDeliveriesRequestSchema,
  type ListDeliveriesResponse,
  type ListNotificationsRequestSchema,
  type ListNotificationsResponse,
  type ReportEngagementRequestSchema,
  type ReportEngagementResponse,
  StreamDeliveryStatusRequestSchema,
} from "./generated/pushrpc/v1/following_pb.js";
import {
  type CancelNotificationRequestSchema,
  type CancelNotificationResponse,
  type PreviewNotificationRequestSchema,
  type PreviewNotificationResponse,
  SendNotificationRequestSchema,
  type SendNotificationResponse,
} from "./generated/pushrpc/v1/sending_pb.js";
import { type GetServerInfoResponse, PushService } from "./generated/pushrpc/v1/service_pb.js";
import { isClosed, type PushStub } from "./stub.js";

/** A request as a plain object: every field may be left out, and app_id is the client's unless it is given. */
export type Request<Schema extends DescMessage> = MessageInitShape<Schema> & { appId?: string };

const TIMEOUT_MS = 10_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/**
 * One app's door to a pushrpc server. Share one client: it holds one connection and may be used from everywhere at once.
 *
 * Calls reject with {@link PushError}. Those that change nothing when they come twice are tried again while the server
 * cannot be reached, 4 times in all.
 */
export class PushClient {
  /** The app of every request that names none. */
  readonly appId: string;
  /** The bare grpc-js stub, on the same connection. */
  readonly stub: PushStub;
  readonly #timeoutMs: number;
  readonly #closing = new AbortController();
  readonly #underWay = new Set<ClientUnaryCall>();

  private constructor(stub: PushStub, appId: string, timeoutMs: number) {
    this.stub = stub;
    this.appId = appId;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * A client of the server at an address such as "push.example:443" or "dns:///push:50051". It connects with its first
   * call, and again whenever the connection is lost.
   */
  static connect(address: string, appId: string, options: ConnectOptions = {}): PushClient {
    return new PushClient(stubOf(address, options), appId, options.timeoutMs ?? TIMEOUT_MS);
  }

  /**
   * Ends whatever is under way at once: calls, bulk sends and followers. They, and what begins later, reject with
   * CLIENT_CLOSED; only calls of the bare stub go on. A second time it does nothing.
   */
  close(): void {
    if (!isClosed(this.stub)) this.stub.close();
    for (const call of this.#underWay) call.cancel();
    this.#closing.abort();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * Accepts one notification durably and answers with its receipt; targets that cannot be reached are in `rejected`.
   *
   * Without a `requestId` it makes one, and so it is safe to repeat: while the server cannot be reached, or its answer got
   * lost, it repeats until `timeoutMs` is over, with pauses of 0.1 s to 2 s, or what the server asks for. The error
   * of a call that has failed in the end has the `requestId` to repeat it with. More than 4 MiB are refused here, with
   * FIELD_TOO_LONG.
   */
  async send(
    request: Request<typeof SendNotificationRequestSchema>,
    options: CallOptions = {},
  ): Promise<SendNotificationResponse> {
    const message = this.#complete(SendNotificationRequestSchema, request);
    message.requestId ||= randomUUID();
    const waitMs = message.wait ? durationMs(message.wait) : 0;
    const deadline = Date.now() + (options.timeoutMs ?? this.#timeoutMs + waitMs);
    const limits = { deadline, signal: options.signal, underWay: this.#underWay };
    const backoff = new Backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    for (;;) {
      try {
        return await callUnary(this.stub, PushService.method.sendNotification, message, limits);
      } catch (error) {
        if (!(error instanceof PushError)) throw error; // the signal's reason
        if (!isLost(error)) throw errorOf(message.requestId, error);
        const pauseMs = backoff.next(error.retryDelayMs);
        if (Date.now() + pauseMs >= deadline) throw errorOf(message.requestId, error);
        await this.#pause(pauseMs, options.signal);
      }
    }
  }

  /** Shorter once the client is closed. Rejects with the signal's reason. */
  async #pause(ms: number, signal?: AbortSignal): Promise<void> {
    const closing = this.#closing.signal;
    await sleep(ms, signal ? AbortSignal.any([closing, signal]) : closing).catch(() => signal?.throwIfAborted());
  }

  /** A stream for many small notifications, which takes them as fast as the server does. */
  bulk(options: BulkOptions = {}): BulkSender {
    return new BulkSender(this.stub, this.appId, options, this.#closing.signal);
  }

  /**
   * What becomes of deliveries: of the notifications named by `notificationIds` or `requestIds` until all are final, or
   * of the whole app for ever. It reconnects by itself and resumes without gap or repeat; give `cursor` to resume where
   * an earlier follower was; `start` is used only without one.
   */
  follow(request: Request<typeof StreamDeliveryStatusRequestSchema> = {}, options: FollowOptions = {}): Follower {
    const complete = this.#complete(StreamDeliveryStatusRequestSchema, request);
    return new Follower(this.stub, complete, options, this.#closing.signal);
  }

  /** Takes back what no provider has yet, by one of `notificationId`, `requestId` or `labels`. */
  cancel(
    request: Request<typeof CancelNotificationRequestSchema>,
    options?: CallOptions,
  ): Promise<CancelNotificationResponse> {
    return this.#call(PushService.method.cancelNotification, request, options);
  }

  /** Shows what each provider would be sent, and sends nothing. */
  preview(
    request: Request<typeof PreviewNotificationRequestSchema>,
    options?: CallOptions,
  ): Promise<PreviewNotificationResponse> {
    return this.#call(PushService.method.previewNotification, request, options);
  }

  /** Upserts one provider token. Set, non-empty fields overwrite; the newest registration of a token wins it. */
  register(
    request: Request<typeof RegisterDeviceRequestSchema>,
    options?: CallOptions,
  ): Promise<RegisterDeviceResponse> {
    return this.#call(PushService.method.registerDevice, request, options);
  }

  /** Changes the fields of one device that `updateMask` names. */
  updateDevice(
    request: Request<typeof UpdateDeviceRequestSchema>,
    options?: CallOptions,
  ): Promise<UpdateDeviceResponse> {
    return this.#call(PushService.method.updateDevice, request, options);
  }

  /** Removes devices by one of `deviceId`, `provider` with `token`, `userId` or `installationId`. */
  unregister(
    request: Request<typeof UnregisterDeviceRequestSchema>,
    options?: CallOptions,
  ): Promise<UnregisterDeviceResponse> {
    return this.#call(PushService.method.unregisterDevice, request, options);
  }

  /** Reads one device, by `deviceId` or `provider` with `token`. */
  getDevice(request: Request<typeof GetDeviceRequestSchema>, options?: CallOptions): Promise<GetDeviceResponse> {
    return this.#call(PushService.method.getDevice, request, options);
  }

  /** One page of the app's devices, oldest first. */
  listDevices(
    request: Request<typeof ListDevicesRequestSchema> = {},
    options?: CallOptions,
  ): Promise<ListDevicesResponse> {
    return this.#call(PushService.method.listDevices, request, options);
  }

  /** Reads one notification with its counts, by `notificationId` or `requestId`. */
  getNotification(
    request: Request<typeof GetNotificationRequestSchema>,
    options?: CallOptions,
  ): Promise<GetNotificationResponse> {
    return this.#call(PushService.method.getNotification, request, options);
  }

  /** One page of the app's notifications, newest first. */
  listNotifications(
    request: Request<typeof ListNotificationsRequestSchema> = {},
    options?: CallOptions,
  ): Promise<ListNotificationsResponse> {
    return this.#call(PushService.method.listNotifications, request, options);
  }

  /** One page of deliveries of a notification, device, user or token: the answer to "what happened to this token?". */
  listDeliveries(
    request: Request<typeof ListDeliveriesRequestSchema>,
    options?: CallOptions,
  ): Promise<ListDeliveriesResponse> {
    return this.#call(PushService.method.listDeliveries, request, options);
  }

  /** Keeps what apps report of their notifications; followers get it as ENGAGEMENT events. */
  reportEngagement(
    request: Request<typeof ReportEngagementRequestSchema>,
    options?: CallOptions,
  ): Promise<ReportEngagementResponse> {
    return this.#call(PushService.method.reportEngagement, request, options);
  }

  /** Has tokens join a topic that the provider keeps. */
  subscribeToTopic(
    request: Request<typeof SubscribeToTopicRequestSchema>,
    options?: CallOptions,
  ): Promise<SubscribeToTopicResponse> {
    return this.#call(PushService.method.subscribeToTopic, request, options);
  }

  /** Has tokens leave a topic that the provider keeps. */
  unsubscribeFromTopic(
    request: Request<typeof UnsubscribeFromTopicRequestSchema>,
    options?: CallOptions,
  ): Promise<UnsubscribeFromTopicResponse> {
    return this.#call(PushService.method.unsubscribeFromTopic, request, options);
  }

  /** Opens a broadcast channel at Apple. Never repeated by itself: each call opens another one. */
  createBroadcastChannel(
    request: Request<typeof CreateBroadcastChannelRequestSchema> = {},
    options?: CallOptions,
  ): Promise<CreateBroadcastChannelResponse> {
    return this.#call(PushService.method.createBroadcastChannel, request, options);
  }

  /** The app's broadcast channels at Apple. */
  listBroadcastChannels(
    request: Request<typeof ListBroadcastChannelsRequestSchema> = {},
    options?: CallOptions,
  ): Promise<ListBroadcastChannelsResponse> {
    return this.#call(PushService.method.listBroadcastChannels, request, options);
  }

  /** Closes a broadcast channel. */
  deleteBroadcastChannel(
    request: Request<typeof DeleteBroadcastChannelRequestSchema>,
    options?: CallOptions,
  ): Promise<DeleteBroadcastChannelResponse> {
    return this.#call(PushService.method.deleteBroadcastChannel, request, options);
  }

  /** The server's versions, limits and providers. */
  getServerInfo(options?: CallOptions): Promise<GetServerInfoResponse> {
    return this.#call(PushService.method.getServerInfo, {}, options);
  }

  #call<I extends DescMessage, O extends DescMessage>(
    method: UnaryMethod<I, O>,
    request: Request<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const deadline = Date.now() + (options.timeoutMs ?? this.#timeoutMs);
    const limits = { deadline, signal: options.signal, underWay: this.#underWay };
    return callUnary(this.stub, method, this.#complete(method.input, request), limits);
  }

  /** The message, with the app filled in. The caller's own object stays as it is. */
  #complete<Schema extends DescMessage>(schema: Schema, request: Request<Schema>): MessageShape<Schema> {
    return create(schema, { ...request, appId: request.appId || this.appId });
  }
}
