package dev.pushrpc.client;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import com.google.protobuf.MessageLite;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** The one channel of a client, and the app that it speaks for. */
final class Connection {
  /** What the server reads. */
  private static final int REQUEST_BYTES_MAX = 4 * 1024 * 1024;

  private final ManagedChannel channel;
  private final String appId;
  private final Duration patience;
  private final Duration openingMax;
  private final Set<Runnable> endings = ConcurrentHashMap.newKeySet();
  private final CountDownLatch closing = new CountDownLatch(1);

  Connection(ManagedChannel channel, String appId, Duration patience, Duration openingMax) {
    this.channel = channel;
    this.appId = appId;
    this.patience = patience;
    this.openingMax = openingMax;
  }

  String appId() {
    return appId;
  }

  ManagedChannel channel() {
    return channel;
  }

  /** How long a stream may be silent when something is due; the server lets itself be heard every 15 s. */
  Duration patience() {
    return patience;
  }

  /** How long a following may wait for its first message; the server sends one within 15 s. */
  Duration openingMax() {
    return openingMax;
  }

  boolean isClosed() {
    return channel.isShutdown();
  }

  /** One call, once. Throws {@link PushException}. */
  <Q extends MessageLite, A> A call(MethodDescriptor<Q, A> method, Q request, Deadline deadline) {
    if (request.getSerializedSize() > REQUEST_BYTES_MAX) {
      throw PushException.tooLong(request.getSerializedSize(), REQUEST_BYTES_MAX); // gRPC's own would not say why
    }
    try {
      return ClientCalls.blockingUnaryCall(
          channel, method, CallOptions.DEFAULT.withDeadline(deadline), request);
    } catch (StatusRuntimeException thrown) {
      throw explained(PushException.of(thrown));
    }
  }

  <Q, A> ClientCall<Q, A> stream(MethodDescriptor<Q, A> method) {
    return channel.newCall(method, CallOptions.DEFAULT);
  }

  /** What a closed channel says of itself, in this client's words. */
  PushException explained(PushException failure) {
    boolean isOwn = failure.code() == Status.Code.UNAVAILABLE || failure.code() == Status.Code.CANCELLED;
    return isClosed() && isOwn && failure.reason().isEmpty() ? PushException.closed() : failure;
  }

  /** Whether the caller has not given up; another try on a closed connection says by itself that it is closed. */
  static boolean isWanted(Context caller) {
    return !hasLeft(caller) && !Thread.currentThread().isInterrupted();
  }

  /** gRPC ends a call at the context's deadline, maybe a moment before the context itself is cancelled. */
  private static boolean hasLeft(Context caller) {
    return caller.isCancelled() || (caller.getDeadline() != null && caller.getDeadline().isExpired());
  }

  /** Tries a broken connection now: the caller has waited already, and the channel's own pauses grow to minutes. */
  void reconnect() {
    channel.resetConnectBackoff();
  }

  /** The request with this client's app_id where it has none. Every request of the contract has that field. */
  @SuppressWarnings("unchecked") // build() of a message's own builder
  <Q extends Message> Q addressed(Q request) {
    FieldDescriptor field = request.getDescriptorForType().findFieldByName("app_id");
    return ((String) request.getField(field)).isEmpty()
        ? (Q) request.toBuilder().setField(field, appId).build()
        : request;
  }

  /** What is open beside unary calls, as what ends it when the client is closed. */
  Set<Runnable> endings() {
    return endings;
  }

  /** Waits between two tries; not once closed. */
  void pause(Duration pause) throws InterruptedException {
    closing.await(pause.toNanos(), TimeUnit.NANOSECONDS);
  }

  /** Ends whatever is under way. */
  void close() {
    channel.shutdownNow();
    closing.countDown();
    endings.forEach(Runnable::run);
  }

  static Deadline deadline(Duration timeout) {
    return Deadline.after(timeout.toNanos(), TimeUnit.NANOSECONDS);
  }

  static boolean endsWithin(Deadline deadline, Duration pause) {
    return deadline.timeRemaining(TimeUnit.NANOSECONDS) <= pause.toNanos();
  }
}
