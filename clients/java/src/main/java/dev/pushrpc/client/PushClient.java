package dev.pushrpc.client;

import com.google.protobuf.Message;
import dev.pushrpc.v1.CancelNotificationRequest;
import dev.pushrpc.v1.CancelNotificationResponse;
import dev.pushrpc.v1.CreateBroadcastChannelRequest;
import dev.pushrpc.v1.CreateBroadcastChannelResponse;
import dev.pushrpc.v1.DeleteBroadcastChannelRequest;
import dev.pushrpc.v1.DeleteBroadcastChannelResponse;
import dev.pushrpc.v1.GetDeviceRequest;
import dev.pushrpc.v1.GetDeviceResponse;
import dev.pushrpc.v1.GetNotificationRequest;
import dev.pushrpc.v1.GetNotificationResponse;
import dev.pushrpc.v1.GetServerInfoRequest;
import dev.pushrpc.v1.GetServerInfoResponse;
import dev.pushrpc.v1.ListBroadcastChannelsRequest;
import dev.pushrpc.v1.ListBroadcastChannelsResponse;
import dev.pushrpc.v1.ListDeliveriesRequest;
import dev.pushrpc.v1.ListDeliveriesResponse;
import dev.pushrpc.v1.ListDevicesRequest;
import dev.pushrpc.v1.ListDevicesResponse;
import dev.pushrpc.v1.ListNotificationsRequest;
import dev.pushrpc.v1.ListNotificationsResponse;
import dev.pushrpc.v1.PreviewNotificationRequest;
import dev.pushrpc.v1.PreviewNotificationResponse;
import dev.pushrpc.v1.PushServiceGrpc;
import dev.pushrpc.v1.RegisterDeviceRequest;
import dev.pushrpc.v1.RegisterDeviceResponse;
import dev.pushrpc.v1.ReportEngagementRequest;
import dev.pushrpc.v1.ReportEngagementResponse;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.SendNotificationResponse;
import dev.pushrpc.v1.StreamDeliveryStatusRequest;
import dev.pushrpc.v1.SubscribeToTopicRequest;
import dev.pushrpc.v1.SubscribeToTopicResponse;
import dev.pushrpc.v1.UnregisterDeviceRequest;
import dev.pushrpc.v1.UnregisterDeviceResponse;
import dev.pushrpc.v1.UnsubscribeFromTopicRequest;
import dev.pushrpc.v1.UnsubscribeFromTopicResponse;
import dev.pushrpc.v1.UpdateDeviceRequest;
import dev.pushrpc.v1.UpdateDeviceResponse;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.List;
import java.util.UUID;

/**
 * One app's connection to a pushrpc server. Safe for use by many threads; a program needs one.
 *
 * <pre>{@code
 * try (PushClient push = PushClient.connect("push.example.com:443", "shop")) {
 *   SendNotificationResponse receipt = push.send(request);
 *   for (DeliveryEvent event : push.follow(receipt)) {
 *     System.out.println(event.getToken() + " " + event.getState());
 *   }
 * }
 * }</pre>
 *
 * <p>Every request's {@code app_id} is filled in where it is empty. Every method that calls the server throws {@link
 * PushException}, and no other, when that fails; unary calls fail with {@code DEADLINE_EXCEEDED} after the {@linkplain
 * #withTimeout timeout}, and those that may be repeated without harm are tried again, four times in all, when the
 * server is {@code UNAVAILABLE}.
 */
public final class PushClient implements AutoCloseable {
  private static final Duration PAUSE_MAX = Duration.ofSeconds(2);

  private final Connection connection;
  private final Duration timeout;

  PushClient(Connection connection, Duration timeout) {
    this.connection = connection;
    this.timeout = timeout;
  }

  /**
   * Connects by TLS with the system's roots. {@link #builder} has the other ways.
   *
   * @param address {@code host:port}
   * @param appId the app that this client speaks for
   * @return a client to be closed in the end
   */
  public static PushClient connect(String address, String appId) {
    return builder(address, appId).connect();
  }

  /**
   * Connects with options.
   *
   * @param address {@code host:port}
   * @param appId the app that this client speaks for
   * @return ends with {@link PushClientBuilder#connect}
   */
  public static PushClientBuilder builder(String address, String appId) {
    return new PushClientBuilder(address, appId);
  }

  /**
   * This client with another timeout for unary calls. Both share the connection; closing one closes both.
   *
   * @param timeout for each call with all its tries
   * @return another client
   */
  public PushClient withTimeout(Duration timeout) {
    return new PushClient(connection, timeout);
  }

  /**
   * Sends one notification. When this returns, the server has it on disk.
   *
   * <p>A request of more than 4 MiB is refused here, with {@code FIELD_TOO_LONG}.
   *
   * <p>A request without {@code request_id} gets one, so that it is safe to repeat: when the server is {@code
   * UNAVAILABLE}, or its answer is lost ({@code UNKNOWN}, {@code INTERNAL} or {@code CANCELLED} without a reason), and
   * after nothing else, the same request is sent again, with pauses of 0.1 s to 2 s or what the server asks for, as
   * long as the timeout allows. The timeout is this client's and the request's {@code wait} together. When it fails
   * all the same, {@link PushException#requestId} is what to repeat it by, for 72 hours.
   *
   * @param request who gets what
   * @return the receipt; {@code rejected} has the targets that make no delivery
   */
  public SendNotificationResponse send(SendNotificationRequest request) {
    SendNotificationRequest whole = connection.addressed(identified(request));
    Deadline deadline = Connection.deadline(timeout.plus(Durations.of(request.getWait())));
    Backoff backoff = new Backoff(PAUSE_MAX);
    PushException before = null;
    while (true) {
      try {
        return connection.call(PushServiceGrpc.getSendNotificationMethod(), whole, deadline);
      } catch (PushException thrown) {
        PushException failure = thrown.ofSend(whole.getRequestId());
        if (before != null) {
          failure.addSuppressed(before);
        }
        Duration pause = backoff.next(failure.retryDelay());
        boolean mayRepeat = failure.isUnanswered() && Connection.isWanted(Context.current());
        if (!mayRepeat || Connection.endsWithin(deadline, pause)) {
          throw failure;
        }
        before = failure;
        await(pause, whole.getRequestId());
        connection.reconnect();
      }
    }
  }

  /**
   * Opens a sender for many notifications at a high rate.
   *
   * @return to be closed in the end, which waits for what is not answered
   */
  public BulkSender bulk() {
    return new BulkSender(connection);
  }

  /**
   * Takes back what no provider has yet.
   *
   * @param request exactly one of notification_id, request_id and labels
   * @return what was still in time
   */
  public CancelNotificationResponse cancel(CancelNotificationRequest request) {
    return call(PushServiceGrpc.getCancelNotificationMethod(), request);
  }

  /**
   * Shows what each provider would be sent, and sends nothing.
   *
   * @param request the message
   * @return one preview for each account and platform
   */
  public PreviewNotificationResponse preview(PreviewNotificationRequest request) {
    return call(PushServiceGrpc.getPreviewNotificationMethod(), request);
  }

  /**
   * Follows what becomes of one send, from its first event until all is final.
   *
   * @param receipt what {@link #send} returned
   * @return its events; to be closed, unless read to the end
   */
  public Following follow(SendNotificationResponse receipt) {
    return follow(
        StreamDeliveryStatusRequest.newBuilder()
            .addNotificationIds(receipt.getNotificationId())
            .setCursor(receipt.getCursor())
            .build());
  }

  /**
   * Follows notifications by the server's ids, from their first events until all are final.
   *
   * @param notificationIds at most 1,000
   * @return their events; to be closed, unless read to the end
   */
  public Following followNotifications(List<String> notificationIds) {
    return follow(StreamDeliveryStatusRequest.newBuilder().addAllNotificationIds(notificationIds).build());
  }

  /**
   * Follows notifications by the caller's request ids, also ahead of the send, until all are final.
   *
   * @param requestIds at most 1,000
   * @return their events; to be closed, unless read to the end
   */
  public Following followRequests(List<String> requestIds) {
    return follow(StreamDeliveryStatusRequest.newBuilder().addAllRequestIds(requestIds).build());
  }

  /**
   * Follows the whole app, without end.
   *
   * @param cursor where to go on, from {@link Following#cursor}; empty is from now on
   * @return its events; to be closed
   */
  public Following followApp(String cursor) {
    return follow(StreamDeliveryStatusRequest.newBuilder().setCursor(cursor).build());
  }

  /**
   * Follows what the request says, with its filters. Its {@code cursor} is where to go on; {@code start} is used only
   * without one.
   *
   * @param request what to follow, and from where
   * @return its events; to be closed, unless read to the end
   */
  public Following follow(StreamDeliveryStatusRequest request) {
    if (connection.isClosed()) {
      throw PushException.closed();
    }
    return new Following(connection, connection.addressed(request));
  }

  /**
   * Follows what the request says on a thread of its own, a daemon, which calls the listener.
   *
   * @param request what to follow, and from where
   * @param listener called by one thread, in order
   * @return to be closed when nobody listens any more; it has no iterator
   */
  public Following follow(StreamDeliveryStatusRequest request, FollowListener listener) {
    Following following = follow(request);
    following.deliverTo(listener);
    return following;
  }

  /**
   * Upserts one provider token.
   *
   * @param request the token, and whose it is
   * @return the device as the registry holds it now
   */
  public RegisterDeviceResponse register(RegisterDeviceRequest request) {
    return call(PushServiceGrpc.getRegisterDeviceMethod(), request);
  }

  /**
   * Changes named fields of one device.
   *
   * @param request the fields
   * @return the device after the change
   */
  public UpdateDeviceResponse updateDevice(UpdateDeviceRequest request) {
    return call(PushServiceGrpc.getUpdateDeviceMethod(), request);
  }

  /**
   * Removes devices; what is queued for them ends CANCELLED.
   *
   * @param request exactly one of device_id, provider with token, user_id, installation_id
   * @return how many; none is no failure
   */
  public UnregisterDeviceResponse unregister(UnregisterDeviceRequest request) {
    return call(PushServiceGrpc.getUnregisterDeviceMethod(), request);
  }

  /**
   * Reads one device.
   *
   * @param request device_id, or provider with token
   * @return the device
   */
  public GetDeviceResponse getDevice(GetDeviceRequest request) {
    return call(PushServiceGrpc.getGetDeviceMethod(), request);
  }

  /**
   * Reads one page of the app's devices, oldest first.
   *
   * @param request filter and page
   * @return the page
   */
  public ListDevicesResponse listDevices(ListDevicesRequest request) {
    return call(PushServiceGrpc.getListDevicesMethod(), request);
  }

  /**
   * Reads one notification with its counts.
   *
   * @param request notification_id or request_id
   * @return the notification
   */
  public GetNotificationResponse getNotification(GetNotificationRequest request) {
    return call(PushServiceGrpc.getGetNotificationMethod(), request);
  }

  /**
   * Reads one page of the app's notifications, newest first.
   *
   * @param request filter and page
   * @return the page
   */
  public ListNotificationsResponse listNotifications(ListNotificationsRequest request) {
    return call(PushServiceGrpc.getListNotificationsMethod(), request);
  }

  /**
   * Reads one page of deliveries: what happened to this token?
   *
   * @param request exactly one of notification_id, request_id, device_id, user_id and token; and the page
   * @return the page
   */
  public ListDeliveriesResponse listDeliveries(ListDeliveriesRequest request) {
    return call(PushServiceGrpc.getListDeliveriesMethod(), request);
  }

  /**
   * Passes on what apps saw of their notifications.
   *
   * @param request at most 1,000 reports
   * @return how many became events
   */
  public ReportEngagementResponse reportEngagement(ReportEngagementRequest request) {
    return call(PushServiceGrpc.getReportEngagementMethod(), request);
  }

  /**
   * Has tokens join a topic that the provider keeps.
   *
   * @param request topic and tokens
   * @return what became of each
   */
  public SubscribeToTopicResponse subscribeToTopic(SubscribeToTopicRequest request) {
    return call(PushServiceGrpc.getSubscribeToTopicMethod(), request);
  }

  /**
   * Has tokens leave a topic that the provider keeps.
   *
   * @param request topic and tokens
   * @return what became of each
   */
  public UnsubscribeFromTopicResponse unsubscribeFromTopic(UnsubscribeFromTopicRequest request) {
    return call(PushServiceGrpc.getUnsubscribeFromTopicMethod(), request);
  }

  /**
   * Opens a broadcast channel at Apple. Never repeated by itself: each call that works opens one more.
   *
   * @param request which account
   * @return Apple's name for the channel
   */
  public CreateBroadcastChannelResponse createBroadcastChannel(CreateBroadcastChannelRequest request) {
    return call(PushServiceGrpc.getCreateBroadcastChannelMethod(), request);
  }

  /**
   * Tells the app's broadcast channels.
   *
   * @param request which account
   * @return Apple's names
   */
  public ListBroadcastChannelsResponse listBroadcastChannels(ListBroadcastChannelsRequest request) {
    return call(PushServiceGrpc.getListBroadcastChannelsMethod(), request);
  }

  /**
   * Closes a broadcast channel.
   *
   * @param request which channel
   * @return nothing more
   */
  public DeleteBroadcastChannelResponse deleteBroadcastChannel(DeleteBroadcastChannelRequest request) {
    return call(PushServiceGrpc.getDeleteBroadcastChannelMethod(), request);
  }

  /**
   * Tells the server's version, limits and configured providers.
   *
   * @return what this server is and allows
   */
  public GetServerInfoResponse serverInfo() {
    return call(PushServiceGrpc.getGetServerInfoMethod(), GetServerInfoRequest.getDefaultInstance());
  }

  /**
   * The bare stub on the same connection, for what this client does not do. It fills in nothing, has no timeout and
   * throws gRPC's own {@link io.grpc.StatusRuntimeException}; {@code getChannel()} leads to the other kinds of stub.
   *
   * @return a new stub
   */
  public PushServiceGrpc.PushServiceBlockingStub stub() {
    return PushServiceGrpc.newBlockingStub(connection.channel());
  }

  /**
   * Ends the connection at once. Calls, followings and bulk sends that are under way, and whatever is called later,
   * fail with code {@code CANCELLED} and reason {@code CLIENT_CLOSED}. Closing again does nothing.
   */
  @Override
  public void close() {
    connection.close();
  }

  private <Q extends Message, A> A call(MethodDescriptor<Q, A> method, Q request) {
    return connection.call(method, connection.addressed(request), Connection.deadline(timeout));
  }

  static SendNotificationRequest identified(SendNotificationRequest request) {
    return request.getRequestId().isEmpty()
        ? request.toBuilder().setRequestId(UUID.randomUUID().toString()).build()
        : request;
  }

  private void await(Duration pause, String requestId) {
    try {
      connection.pause(pause);
    } catch (InterruptedException e) {
      throw PushException.interrupted().ofSend(requestId);
    }
  }
}
