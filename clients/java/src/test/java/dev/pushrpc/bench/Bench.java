package dev.pushrpc.bench;

import dev.pushrpc.client.Following;
import dev.pushrpc.client.PushClient;
import dev.pushrpc.v1.DeliveryEvent;
import dev.pushrpc.v1.DeliveryState;
import dev.pushrpc.v1.EventKind;
import dev.pushrpc.v1.Outcome;
import dev.pushrpc.v1.Provider;
import dev.pushrpc.v1.PushServiceGrpc.PushServiceImplBase;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.SendNotificationResponse;
import dev.pushrpc.v1.StreamDeliveryStatusRequest;
import dev.pushrpc.v1.StreamDeliveryStatusResponse;
import dev.pushrpc.v1.StreamEnd;
import dev.pushrpc.v1.StreamStart;
import io.grpc.Server;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.util.Arrays;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/**
 * What the client costs: events a second of one stream, and a send beside the bare stub's, with a server in this
 * process that only answers. With the address of a real server (no TLS, app shop): events a second of what it has kept.
 */
public final class Bench {
  private static final int EVENTS_PER_PAGE = 500;
  private static final int PAGES = 2_000;
  private static final int ROUNDS = 5;
  private static final int CALLS = 4_000;

  private Bench() {}

  /**
   * Prints the figures.
   *
   * @param arguments none, or the address of a real server
   * @throws Exception when the server cannot start
   */
  public static void main(String[] arguments) throws Exception {
    if (arguments.length > 0) {
      try (PushClient push = PushClient.builder(arguments[0], "shop").plaintext().connect()) {
        follow(push);
      }
      return;
    }
    Server server =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0)).addService(new Replay()).build().start();
    try (PushClient push = PushClient.builder("127.0.0.1:" + server.getPort(), "shop").plaintext().connect()) {
      follow(push);
      calls(push);
    } finally {
      server.shutdownNow();
    }
  }

  private static void follow(PushClient push) {
    double[] rates = new double[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
      rates[round] = replay(push);
      System.out.printf("follow: %,.0f events/s%n", rates[round]);
    }
    Arrays.sort(rates);
    System.out.printf("follow: %,.0f events/s in the median round%n", rates[ROUNDS / 2]);
  }

  private static double replay(PushClient push) {
    var all = StreamDeliveryStatusRequest.newBuilder().setStart(StreamStart.STREAM_START_OLDEST).setUntilCaughtUp(true);
    long began = System.nanoTime();
    long events = 0;
    long finals = 0;
    try (Following following = push.follow(all.build())) {
      for (DeliveryEvent event : following) {
        events++;
        finals += event.getFinal() ? 1 : 0;
      }
    }
    if (finals == 0) {
      throw new IllegalStateException("the server has kept nothing");
    }
    return events / seconds(began);
  }

  /** Alternates, so that both see the same machine. */
  private static void calls(PushClient push) {
    SendNotificationRequest request = SendNotificationRequest.newBuilder().setAppId("shop").build();
    double[] bare = new double[ROUNDS];
    double[] own = new double[ROUNDS];
    for (int warming = 0; warming < 2; warming++) {
      run(() -> bare(push, request));
      run(() -> push.send(request));
    }
    for (int round = 0; round < ROUNDS; round++) {
      bare[round] = run(() -> bare(push, request));
      own[round] = run(() -> push.send(request));
    }
    Arrays.sort(bare);
    Arrays.sort(own);
    double bareUs = bare[ROUNDS / 2] * 1e6 / CALLS;
    double ownUs = own[ROUNDS / 2] * 1e6 / CALLS;
    System.out.printf("call: bare stub %.1f us, send %.1f us: %+.1f %%%n", bareUs, ownUs, (ownUs / bareUs - 1) * 100);
  }

  /** As one would call it: with an id to repeat by, and a deadline. */
  private static void bare(PushClient push, SendNotificationRequest request) {
    push.stub()
        .withDeadlineAfter(10, TimeUnit.SECONDS)
        .sendNotification(request.toBuilder().setRequestId(UUID.randomUUID().toString()).build());
  }

  private static double run(Runnable call) {
    long began = System.nanoTime();
    for (int i = 0; i < CALLS; i++) {
      call.run();
    }
    return seconds(began);
  }

  private static double seconds(long began) {
    return (System.nanoTime() - began) / 1e9;
  }

  private static StreamDeliveryStatusResponse page() {
    var page = StreamDeliveryStatusResponse.newBuilder().setCursor("c".repeat(64));
    for (int i = 0; i < EVENTS_PER_PAGE; i++) {
      page.addEventsBuilder()
          .setNotificationId(UUID.randomUUID().toString())
          .setRequestId("order-" + i)
          .setDeviceId(UUID.randomUUID().toString())
          .setUserId("user-" + i)
          .setToken((UUID.randomUUID() + "" + UUID.randomUUID()).replace("-", ""))
          .setProvider(Provider.PROVIDER_APNS)
          .setState(DeliveryState.DELIVERY_STATE_SENT)
          .setOutcome(Outcome.OUTCOME_ACCEPTED)
          .setProviderMessageId(UUID.randomUUID().toString())
          .setAttempt(1)
          .setTime(com.google.protobuf.Timestamp.newBuilder().setSeconds(1_700_000_000).setNanos(i))
          .setFinal(true)
          .setEventId("0123456789ab-" + i)
          .setKind(EventKind.EVENT_KIND_STATE)
          .setProviderStatus(200);
    }
    return page.build();
  }

  /** Answers at once: one page again and again, or an empty receipt. */
  private static final class Replay extends PushServiceImplBase {
    private final StreamDeliveryStatusResponse page = page();

    @Override
    public void sendNotification(SendNotificationRequest request, StreamObserver<SendNotificationResponse> answer) {
      answer.onNext(SendNotificationResponse.getDefaultInstance());
      answer.onCompleted();
    }

    @Override
    public void streamDeliveryStatus(
        StreamDeliveryStatusRequest request, StreamObserver<StreamDeliveryStatusResponse> answer) {
      var stream = (ServerCallStreamObserver<StreamDeliveryStatusResponse>) answer;
      int[] written = {0};
      stream.setOnReadyHandler(
          () -> {
            while (written[0] < PAGES && stream.isReady()) {
              stream.onNext(page);
              if (++written[0] == PAGES) {
                stream.onNext(StreamDeliveryStatusResponse.newBuilder().setEnd(StreamEnd.getDefaultInstance()).build());
                stream.onCompleted();
              }
            }
          });
    }
  }
}
