package dev.pushrpc.client;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.pushrpc.v1.PushServiceGrpc.PushServiceImplBase;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.SendNotificationResponse;
import dev.pushrpc.v1.SendNotificationsRequest;
import dev.pushrpc.v1.SendNotificationsResponse;
import dev.pushrpc.v1.StreamDeliveryStatusRequest;
import dev.pushrpc.v1.StreamDeliveryStatusResponse;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import java.util.function.Function;

/** A server on loopback whose answers a test writes, and which can be stopped and started on its port. */
final class FakeServer extends PushServiceImplBase implements AutoCloseable {
  /** What a test answers. */
  interface OnSend extends BiConsumer<SendNotificationRequest, StreamObserver<SendNotificationResponse>> {}

  interface OnFollow
      extends BiConsumer<StreamDeliveryStatusRequest, ServerCallStreamObserver<StreamDeliveryStatusResponse>> {}

  interface OnBulk
      extends Function<StreamObserver<SendNotificationsResponse>, StreamObserver<SendNotificationsRequest>> {}

  /** One call that came, before it is answered. */
  record Call(String method, Message request, Metadata headers) {}

  final List<Call> calls = new CopyOnWriteArrayList<>();
  volatile OnSend onSend;
  volatile OnFollow onFollow;
  volatile OnBulk onBulk;

  private Server server;
  private int port;

  FakeServer() {
    start();
  }

  void start() {
    var builder = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", port));
    try {
      server = builder.addService(this).intercept(new Recorder()).build().start();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    port = server.getPort();
  }

  /** Cuts every connection. */
  void stop() {
    try {
      server.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public void close() {
    stop();
  }

  String address() {
    return "127.0.0.1:" + port;
  }

  PushClient connect() {
    return PushClient.builder(address(), "shop").plaintext().connect();
  }

  <T extends Message> List<T> requests(Class<T> type) {
    return calls.stream().map(Call::request).filter(type::isInstance).map(type::cast).toList();
  }

  @Override
  public void sendNotification(SendNotificationRequest request, StreamObserver<SendNotificationResponse> answer) {
    onSend.accept(request, answer);
  }

  @Override
  public void streamDeliveryStatus(
      StreamDeliveryStatusRequest request, StreamObserver<StreamDeliveryStatusResponse> answer) {
    onFollow.accept(request, (ServerCallStreamObserver<StreamDeliveryStatusResponse>) answer);
  }

  @Override
  public StreamObserver<SendNotificationsRequest> sendNotifications(
      StreamObserver<SendNotificationsResponse> answer) {
    return onBulk.apply(answer);
  }

  static <T> void answer(StreamObserver<T> observer, T message) {
    observer.onNext(message);
    observer.onCompleted();
  }

  static StatusRuntimeException refusal(Status.Code code, String reason) {
    return refusal(code, reason, Map.of(), List.of(), null);
  }

  /** With a reason that is a proxy's, say. */
  static StatusRuntimeException refusalOf(String domain, Status.Code code, String reason) {
    var info = ErrorInfo.newBuilder().setDomain(domain).setReason(reason).build();
    var status = com.google.rpc.Status.newBuilder().setCode(code.value()).addDetails(Any.pack(info));
    return StatusProto.toStatusRuntimeException(status.build());
  }

  static StatusRuntimeException later(Status.Code code, String reason, Duration delay) {
    return refusal(code, reason, Map.of(), List.of(), delay);
  }

  static StatusRuntimeException refusal(
      Status.Code code, String reason, Map<String, String> metadata, List<String> fields, Duration delay) {
    var status = com.google.rpc.Status.newBuilder().setCode(code.value()).setMessage("what is wrong");
    status.addDetails(
        Any.pack(
            ErrorInfo.newBuilder().setDomain("pushrpc.v1").setReason(reason).putAllMetadata(metadata).build()));
    if (!fields.isEmpty()) {
      var bad = BadRequest.newBuilder();
      fields.forEach(field -> bad.addFieldViolationsBuilder().setField(field).setDescription("is wrong"));
      status.addDetails(Any.pack(bad.build()));
    }
    if (delay != null) {
      var told =
          com.google.protobuf.Duration.newBuilder().setSeconds(delay.getSeconds()).setNanos(delay.getNano());
      status.addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(told).build()));
    }
    return StatusProto.toStatusRuntimeException(status.build());
  }

  private final class Recorder implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      String method = call.getMethodDescriptor().getBareMethodName();
      return new SimpleForwardingServerCallListener<>(next.startCall(call, headers)) {
        @Override
        public void onMessage(Q request) {
          calls.add(new Call(method, (Message) request, headers));
          super.onMessage(request);
        }
      };
    }
  }
}
