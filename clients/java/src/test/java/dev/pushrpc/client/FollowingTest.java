package dev.pushrpc.client;

import static dev.pushrpc.client.Told.END;
import static dev.pushrpc.client.Told.heartbeat;
import static dev.pushrpc.client.Told.largePage;
import static dev.pushrpc.client.Told.page;
import static dev.pushrpc.client.Told.reconnect;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.pushrpc.v1.DeliveryEvent;
import dev.pushrpc.v1.SendNotificationResponse;
import dev.pushrpc.v1.StreamDeliveryStatusRequest;
import dev.pushrpc.v1.StreamDeliveryStatusResponse;
import dev.pushrpc.v1.StreamStart;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.stub.ServerCallStreamObserver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

@Timeout(30)
class FollowingTest {
  private static final StreamDeliveryStatusRequest APP = StreamDeliveryStatusRequest.getDefaultInstance();

  private final FakeServer server = new FakeServer();
  private final PushClient push = server.connect();

  @AfterEach
  void close() {
    push.close();
    server.close();
  }

  @Test
  void tellsEventsOneByOneThenTheCounts() {
    answers(stream -> tell(stream, page("c-1", "a", "b"), page("c-2", "c"), END));
    try (Following following = push.followRequests(List.of("order-1"))) {
      assertEquals(List.of("a", "b", "c"), ids(following));
      assertEquals(3, following.counts().orElseThrow().getSent());
      assertEquals("c-end", following.cursor());
      assertFalse(following.iterator().hasNext());
    }
    assertEquals(List.of("order-1"), opened().get(0).getRequestIdsList());
    assertEquals("shop", opened().get(0).getAppId());
  }

  @Test
  void followsAReceiptFromItsFirstEvent() {
    answers(stream -> tell(stream, END));
    SendNotificationResponse receipt =
        SendNotificationResponse.newBuilder().setNotificationId("n-1").setCursor("c-0").build();
    ids(push.follow(receipt));
    assertEquals(List.of("n-1"), opened().get(0).getNotificationIdsList());
    assertEquals("c-0", opened().get(0).getCursor());
  }

  @Test
  void theCursorMovesWithTheLastEventOfAPage() {
    answers(stream -> tell(stream, page("c-1", "a", "b"), page("c-2", "c"), heartbeat("c-3"), END));
    try (Following following = push.followApp("c-0")) {
      Iterator<DeliveryEvent> events = following.iterator();
      List<String> cursors = new ArrayList<>(List.of(following.cursor()));
      while (events.hasNext()) {
        events.next();
        cursors.add(following.cursor());
      }
      assertEquals(List.of("c-0", "c-0", "c-1", "c-2"), cursors);
    }
  }

  @Test
  void resumesAfterTheLastPageThatCame() {
    answers(
        stream -> {
          tell(stream, page("c-1", "a", "b"));
          stream.onError(FakeServer.refusal(Status.Code.UNAVAILABLE, "DRAINING"));
        },
        stream -> {
          tell(stream, heartbeat("c-2"));
          stream.onError(Status.INTERNAL.withDescription("RST_STREAM").asRuntimeException());
        },
        stream -> stream.onError(FakeServer.later(Status.Code.ABORTED, "SLOW_READER", Duration.ofMillis(1))),
        stream -> stream.onError(FakeServer.refusal(Status.Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")),
        ServerCallStreamObserver::onCompleted,
        stream -> tell(stream, page("c-3", "c"), END));
    StreamDeliveryStatusRequest oldest = APP.toBuilder().setStart(StreamStart.STREAM_START_OLDEST).build();
    assertEquals(List.of("a", "b", "c"), ids(push.follow(oldest)));
    assertEquals(
        List.of("", "c-1", "c-2", "c-2", "c-2", "c-2"),
        opened().stream().map(StreamDeliveryStatusRequest::getCursor).toList());
    assertEquals(StreamStart.STREAM_START_OLDEST, opened().get(0).getStart());
    assertTrue(opened().stream().skip(1).allMatch(each -> each.getStart() == StreamStart.STREAM_START_UNSPECIFIED));
  }

  @Test
  void aCursorWinsOverAStart() {
    answers(stream -> tell(stream, page("c-2", "b"), END));
    var both = APP.toBuilder().setCursor("c-1").setStart(StreamStart.STREAM_START_OLDEST).build();
    assertEquals(List.of("b"), ids(push.follow(both)));
    assertEquals("c-1", opened().get(0).getCursor());
    assertEquals(StreamStart.STREAM_START_UNSPECIFIED, opened().get(0).getStart());
  }

  @Test
  void survivesAServerThatIsKilledAndStarted() {
    answers(stream -> tell(stream, page("c-1", "a")), stream -> tell(stream, page("c-2", "b"), END));
    Iterator<DeliveryEvent> events = push.follow(APP).iterator();
    assertEquals("a", events.next().getEventId());
    server.stop();
    server.start();
    assertEquals("b", events.next().getEventId());
    assertFalse(events.hasNext());
  }

  @Test
  void waitsForAServerThatIsNotThereYet() throws Exception {
    answers(stream -> tell(stream, END));
    server.stop();
    try (Following following = push.follow(APP);
        Threads threads = new Threads()) {
      assertFalse(following.awaitOpen(Duration.ofMillis(300)));
      threads.pool.submit(server::start);
      assertTrue(following.awaitOpen(Duration.ofSeconds(20)));
    }
  }

  @Test
  void comesBackWhenAskedAfterTheDelay() {
    answers(
        stream -> {
          tell(stream, page("c-1", "a"));
          FakeServer.answer(stream, reconnect("c-2", Duration.ofMillis(400)));
        },
        stream -> tell(stream, page("c-3", "b"), END));
    long began = System.nanoTime();
    assertEquals(List.of("a", "b"), ids(push.follow(APP)));
    assertTrue(System.nanoTime() - began >= Duration.ofMillis(400).toNanos());
    assertEquals("c-2", opened().get(1).getCursor());
  }

  @Test
  void comesBackWhenNothingIsHeard() {
    answers(stream -> tell(stream, page("c-1", "a")), stream -> tell(stream, END));
    try (PushClient impatient =
        PushClient.builder(server.address(), "shop").plaintext().patience(Duration.ofMillis(300)).connect()) {
      assertEquals(List.of("a"), ids(impatient.follow(APP)));
    }
    assertEquals("c-1", opened().get(1).getCursor());
  }

  @Test
  void aFinalRefusalIsThrownAgainAndAgain() {
    answers(
        stream ->
            stream.onError(
                FakeServer.refusal(
                    Status.Code.OUT_OF_RANGE, "CURSOR_EXPIRED", Map.of("oldest_cursor", "c-9"), List.of(), null)));
    Following following = push.followApp("c-1");
    PushException refusal = assertThrows(PushException.class, () -> following.iterator().hasNext());
    assertEquals("CURSOR_EXPIRED", refusal.reason());
    assertEquals("c-9", refusal.metadata().get("oldest_cursor"));
    assertThrows(PushException.class, () -> following.iterator().next());
    assertEquals(1, opened().size());
  }

  @ParameterizedTest
  @EnumSource(
      names = {
        "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "ALREADY_EXISTS", "FAILED_PRECONDITION", "UNIMPLEMENTED",
        "UNAUTHENTICATED", "PERMISSION_DENIED"
      })
  void endsAfterARefusal(Status.Code code) {
    answers(
        stream -> {
          tell(stream, page("c-1", "a"));
          stream.onError(code.toStatus().asRuntimeException());
        });
    Iterator<DeliveryEvent> events = push.follow(APP).iterator();
    assertEquals("a", events.next().getEventId());
    assertEquals(code, assertThrows(PushException.class, events::hasNext).code());
    assertEquals(1, opened().size());
  }

  @ParameterizedTest
  @EnumSource(
      names = {
        "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE",
        "DATA_LOSS"
      })
  void comesBackAfterEverythingElseWithAReasonOrWithout(Status.Code code) {
    answers(
        stream -> {
          tell(stream, page("c-1", "a"));
          stream.onError(code.toStatus().asRuntimeException());
        },
        stream -> stream.onError(FakeServer.refusal(code, "SOME_REASON")),
        stream -> tell(stream, page("c-2", "b"), END));
    assertEquals(List.of("a", "b"), ids(push.follow(APP)));
    assertEquals(List.of("", "c-1", "c-1"), opened().stream().map(StreamDeliveryStatusRequest::getCursor).toList());
  }

  @Test
  void tooManyStreamsAtFirstMayPass() {
    answers(
        stream -> stream.onError(FakeServer.later(Status.Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", Duration.ZERO)),
        stream -> tell(stream, END));
    assertTrue(push.follow(APP).awaitOpen(Duration.ofSeconds(10)));
  }

  @Test
  void givesUpWhenNoStreamBegins() {
    server.onFollow = (request, stream) -> stream.onError(FakeServer.refusal(Status.Code.UNAVAILABLE, "STARTING"));
    try (PushClient hasty = hasty(Duration.ofMillis(700))) {
      Following following = hasty.follow(APP);
      PushException failure = assertThrows(PushException.class, () -> following.iterator().hasNext());
      assertEquals(Status.Code.UNAVAILABLE, failure.code());
      assertEquals("STARTING", failure.reason());
      assertEquals(failure, assertThrows(PushException.class, () -> following.iterator().hasNext()));
    }
    assertTrue(opened().size() > 1);
  }

  @Test
  void givesUpAServerThatIsNotThere() throws Exception {
    server.stop();
    Heard heard = new Heard();
    try (PushClient hasty = hasty(Duration.ofMillis(300))) {
      hasty.follow(APP, heard);
      assertEquals(List.of("UNAVAILABLE"), heard.until("UNAVAILABLE"));
    }
  }

  @Test
  void givesUpAServerThatNeverSpeaks() {
    answers();
    try (PushClient hasty = hasty(Duration.ofMillis(300))) {
      PushException failure = assertThrows(PushException.class, () -> hasty.follow(APP).iterator().hasNext());
      assertEquals(Status.Code.UNAVAILABLE, failure.code());
    }
    assertEquals(1, opened().size());
  }

  @Test
  void aSilenceHidesNoErrorThatWasSaidBeforeIt() {
    answers(
        stream -> stream.onError(FakeServer.refusal(Status.Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")),
        stream -> {});
    try (PushClient hasty = hasty(Duration.ofMillis(600))) {
      PushException failure = assertThrows(PushException.class, () -> hasty.follow(APP).iterator().hasNext());
      assertEquals(Status.Code.RESOURCE_EXHAUSTED, failure.code());
      assertEquals("TOO_MANY_STREAMS", failure.reason());
    }
    assertEquals(2, opened().size());
  }

  @Test
  void onceBegunItWaitsLongerThanForItsOpening() {
    AtomicInteger streams = new AtomicInteger();
    long began = System.nanoTime();
    server.onFollow =
        (request, stream) -> {
          if (streams.getAndIncrement() == 0) {
            tell(stream, page("c-1", "a"));
          }
          if (System.nanoTime() - began < Duration.ofMillis(1_200).toNanos()) {
            stream.onError(FakeServer.refusal(Status.Code.UNAVAILABLE, "STARTING"));
          } else {
            tell(stream, END);
          }
        };
    try (PushClient hasty = hasty(Duration.ofMillis(500))) {
      assertEquals(List.of("a"), ids(hasty.follow(APP)));
    }
    assertTrue(streams.get() > 2);
  }

  @Test
  void aClosedClientFollowsNothing() {
    push.close();
    PushException failure = assertThrows(PushException.class, () -> push.follow(APP));
    assertEquals(Status.Code.CANCELLED, failure.code());
    assertEquals("CLIENT_CLOSED", failure.reason());
    assertTrue(opened().isEmpty());
  }

  @Test
  void whoReadsSlowlyHoldsTheServerBack() throws Exception {
    int pages = 200;
    int eventsOfAPage = 100;
    AtomicInteger written = new AtomicInteger();
    AtomicBoolean isEnded = new AtomicBoolean();
    CountDownLatch blocked = new CountDownLatch(1);
    answers(
        stream ->
            stream.setOnReadyHandler(
                () -> {
                  while (written.get() < pages && stream.isReady()) {
                    stream.onNext(largePage(written.getAndIncrement(), eventsOfAPage));
                  }
                  if (written.get() == pages && isEnded.compareAndSet(false, true)) {
                    FakeServer.answer(stream, END);
                  } else {
                    blocked.countDown();
                  }
                }));
    Following following = push.follow(APP);
    assertTrue(blocked.await(10, TimeUnit.SECONDS));
    // Two messages, and what gRPC's own window of 1 MiB and the socket hold of 0.4 MiB each.
    int ahead = settled(written);
    assertTrue(ahead < 40, ahead + " pages were written that nobody had asked for");
    List<String> expected = IntStream.range(0, pages * eventsOfAPage).mapToObj(Integer::toString).toList();
    assertEquals(expected, ids(following));
  }

  @Test
  void closingEndsAWaitingIterator() throws Exception {
    answers(stream -> tell(stream, heartbeat("c-1")));
    try (Threads threads = new Threads()) {
      Following following = push.follow(APP);
      assertTrue(following.awaitOpen(Duration.ofSeconds(10)));
      var more = threads.pool.submit(() -> following.iterator().hasNext());
      following.close();
      assertFalse(more.get());
      assertTrue(following.counts().isEmpty());
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void closingTheClientIsAFailureOfWhatItFollows(boolean isPausing) throws Exception {
    answers(stream -> tell(stream, isPausing ? reconnect("c-1", Duration.ofMinutes(1)) : heartbeat("c-1")));
    try (Threads threads = new Threads()) {
      Following following = push.follow(APP);
      var more = threads.pool.submit(() -> following.iterator().hasNext());
      long began = System.nanoTime();
      push.close();
      var failure = (PushException) assertThrows(ExecutionException.class, more::get).getCause();
      assertEquals(Status.Code.CANCELLED, failure.code());
      assertEquals("CLIENT_CLOSED", failure.reason());
      assertTrue(System.nanoTime() - began < Duration.ofSeconds(4).toNanos());
      following.close();
      assertFalse(following.iterator().hasNext());
    }
  }

  @Test
  void closingTheClientIsToldToAListener() throws Exception {
    answers(stream -> tell(stream, heartbeat("c-1")));
    Heard heard = new Heard();
    push.follow(APP, heard);
    heard.until("open");
    push.close();
    heard.until("CLIENT_CLOSED");
  }

  @Test
  void theCallersDeadlineEndsIt() throws Exception {
    answers(stream -> tell(stream, heartbeat("c-1")));
    try (Threads threads = new Threads()) {
      Following[] following = new Following[1];
      Context.current()
          .withDeadlineAfter(300, TimeUnit.MILLISECONDS, threads.pool)
          .run(() -> following[0] = push.follow(APP));
      assertEquals(
          Status.Code.DEADLINE_EXCEEDED,
          assertThrows(PushException.class, () -> following[0].iterator().hasNext()).code());
    }
    assertEquals(1, opened().size());
  }

  @Test
  void theCallersContextEndsIt() {
    answers(stream -> tell(stream, heartbeat("c-1")));
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      Following[] following = new Following[1];
      context.run(() -> following[0] = push.follow(APP));
      assertTrue(following[0].awaitOpen(Duration.ofSeconds(10)));
      context.cancel(null);
      assertEquals(
          Status.Code.CANCELLED,
          assertThrows(PushException.class, () -> following[0].iterator().hasNext()).code());
    }
  }

  @Test
  void aThreadThatIsInterruptedStopsWaiting() {
    answers(stream -> tell(stream, heartbeat("c-1")));
    Following following = push.follow(APP);
    Thread.currentThread().interrupt();
    PushException failure = assertThrows(PushException.class, () -> following.iterator().hasNext());
    assertTrue(Thread.interrupted());
    assertEquals(Status.Code.CANCELLED, failure.code());
  }

  @Test
  void aListenerHearsItAllInOrder() throws Exception {
    answers(
        stream -> {
          tell(stream, heartbeat("c-0"), page("c-1", "a", "b"));
          stream.onError(Status.UNAVAILABLE.asRuntimeException());
        },
        stream -> tell(stream, page("c-2", "c"), END));
    Heard heard = new Heard();
    Following following = push.follow(APP, heard);
    assertEquals(
        List.of("open", "cursor c-0", "a", "b", "cursor c-1", "c", "cursor c-2", "cursor c-end", "end 3"),
        heard.until("end 3"));
    assertThrows(IllegalStateException.class, following::iterator);
  }

  @Test
  void aListenerHearsOfARefusal() throws Exception {
    answers(stream -> stream.onError(FakeServer.refusal(Status.Code.NOT_FOUND, "NOTIFICATION_NOT_FOUND")));
    Heard heard = new Heard();
    push.follow(APP, heard);
    assertEquals(List.of("NOTIFICATION_NOT_FOUND"), heard.until("NOTIFICATION_NOT_FOUND"));
  }

  /** Each stream is answered by the next of these; later ones are left without an answer. */
  @SafeVarargs
  private void answers(Consumer<ServerCallStreamObserver<StreamDeliveryStatusResponse>>... scripts) {
    AtomicInteger streams = new AtomicInteger();
    server.onFollow =
        (request, stream) -> {
          int number = streams.getAndIncrement();
          if (number < scripts.length) {
            scripts[number].accept(stream);
          }
        };
  }

  private PushClient hasty(Duration openingMax) {
    return PushClient.builder(server.address(), "shop").plaintext().openingMax(openingMax).connect();
  }

  private List<StreamDeliveryStatusRequest> opened() {
    return server.requests(StreamDeliveryStatusRequest.class);
  }

  private static void tell(
      ServerCallStreamObserver<StreamDeliveryStatusResponse> stream, StreamDeliveryStatusResponse... messages) {
    for (StreamDeliveryStatusResponse message : messages) {
      stream.onNext(message);
      if (message.hasEnd()) {
        stream.onCompleted();
      }
    }
  }

  private static List<String> ids(Following following) {
    List<String> ids = new ArrayList<>();
    following.forEach(event -> ids.add(event.getEventId()));
    return ids;
  }

  /** The count once it stands still. */
  private static int settled(AtomicInteger count) throws InterruptedException {
    int before;
    do {
      before = count.get();
      Thread.sleep(200);
    } while (count.get() != before);
    return before;
  }
}
