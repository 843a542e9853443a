package dev.pushrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.pushrpc.v1.FieldViolation;
import dev.pushrpc.v1.Rejection;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.SendNotificationResponse;
import io.grpc.Context;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

@Timeout(30)
class SendTest {
  private static final SendNotificationRequest ANY = SendNotificationRequest.getDefaultInstance();
  private static final int ANSWER_BYTES_MAX = 16 * 1024 * 1024;
  private static final SendNotificationResponse RECEIPT =
      SendNotificationResponse.newBuilder().setNotificationId("n-1").build();

  private final FakeServer server = new FakeServer();
  private final PushClient push = server.connect();

  @AfterEach
  void close() {
    push.close();
    server.close();
  }

  @Test
  void fillsInAppAndRequestId() {
    server.onSend = (request, answer) -> FakeServer.answer(answer, RECEIPT);
    assertEquals(RECEIPT, push.send(ANY));
    SendNotificationRequest sent = sends().get(0);
    assertEquals("shop", sent.getAppId());
    assertEquals(sent.getRequestId(), UUID.fromString(sent.getRequestId()).toString());
  }

  @Test
  void leavesWhatTheCallerSet() {
    server.onSend = (request, answer) -> FakeServer.answer(answer, RECEIPT);
    SendNotificationRequest own = ANY.toBuilder().setAppId("other").setRequestId("order-1").build();
    push.send(own);
    assertEquals(List.of(own), sends());
  }

  @Test
  void repeatsTheSameRequestWhileTheServerIsUnavailable() {
    fails(refusal(Status.Code.UNAVAILABLE, "DRAINING"), refusal(Status.Code.UNAVAILABLE, "STARTING"));
    assertEquals(RECEIPT, push.send(ANY));
    assertEquals(3, sends().size());
    assertEquals(1, sends().stream().distinct().count());
  }

  @ParameterizedTest
  @EnumSource(names = {"UNAVAILABLE", "UNKNOWN", "INTERNAL", "CANCELLED"})
  void repeatsAfterATransportsOwnFailure(Status.Code code) {
    fails(code.toStatus().withDescription("RST_STREAM").asRuntimeException());
    assertEquals(RECEIPT, push.send(ANY));
    assertEquals(2, sends().size());
    assertEquals(1, sends().stream().distinct().count());
  }

  @ParameterizedTest
  @EnumSource(mode = Mode.EXCLUDE, names = {"OK", "UNAVAILABLE", "UNKNOWN", "INTERNAL", "CANCELLED"})
  void repeatsAfterNothingElse(Status.Code code) {
    fails(code.toStatus().asRuntimeException());
    PushException failure = assertThrows(PushException.class, () -> push.send(ANY));
    assertEquals(code, failure.code());
    assertEquals(sends().get(0).getRequestId(), failure.requestId());
    assertEquals(1, sends().size());
  }

  @ParameterizedTest
  @EnumSource(names = {"ABORTED", "RESOURCE_EXHAUSTED", "UNKNOWN", "INTERNAL", "CANCELLED"})
  void repeatsNoRefusalEvenWithATimeToComeBack(Status.Code code) {
    fails(FakeServer.later(code, "QUEUE_FULL", Duration.ZERO));
    assertEquals("QUEUE_FULL", assertThrows(PushException.class, () -> push.send(ANY)).reason());
    assertEquals(1, sends().size());
  }

  @Test
  void aProxysOwnReasonHidesNoLostAnswer() {
    fails(FakeServer.refusalOf("proxy.example", Status.Code.UNKNOWN, "UPSTREAM_RESET"));
    assertEquals(RECEIPT, push.send(ANY));
    fails(FakeServer.refusalOf("proxy.example", Status.Code.ABORTED, "UPSTREAM_RESET"));
    assertEquals("", assertThrows(PushException.class, () -> push.send(ANY)).reason());
  }

  @Test
  void refusesWhatNoServerWouldRead() {
    server.onSend = (request, answer) -> FakeServer.answer(answer, RECEIPT);
    var bare = ANY.toBuilder().setAppId("shop").setRequestId("").build();
    int room = 4 * 1024 * 1024 - bare.getSerializedSize() - 5;
    SendNotificationRequest largest = bare.toBuilder().setRequestId("x".repeat(room)).build();
    assertEquals(4 * 1024 * 1024, largest.getSerializedSize());
    assertEquals(RECEIPT, push.send(largest));
    String beyond = largest.getRequestId() + "x";
    PushException failure =
        assertThrows(PushException.class, () -> push.send(bare.toBuilder().setRequestId(beyond).build()));
    assertEquals(Status.Code.INVALID_ARGUMENT, failure.code());
    assertEquals("FIELD_TOO_LONG", failure.reason());
    assertEquals(beyond, failure.requestId());
    assertEquals(1, sends().size());
  }

  @Test
  void takesReceiptsOfSixteenMebibytes() {
    SendNotificationResponse bare =
        RECEIPT.toBuilder().addRejected(Rejection.newBuilder().setDetail("x".repeat(ANSWER_BYTES_MAX - 100))).build();
    int room = ANSWER_BYTES_MAX - bare.getSerializedSize();
    SendNotificationResponse full = bare.toBuilder().setNotificationId("n-1" + "x".repeat(room)).build();
    assertEquals(ANSWER_BYTES_MAX, full.getSerializedSize());
    server.onSend = (request, answer) -> FakeServer.answer(answer, full);
    assertEquals(full, push.send(ANY));
  }

  @Test
  void repeatsWhenTheAnswerIsLost() throws Exception {
    CountDownLatch arrived = new CountDownLatch(1);
    server.onSend = (request, answer) -> arrived.countDown();
    try (var threads = new Threads()) {
      var receipt = threads.pool.submit(() -> push.send(ANY));
      arrived.await();
      server.stop();
      server.onSend = (request, answer) -> FakeServer.answer(answer, RECEIPT);
      server.start();
      assertEquals(RECEIPT, receipt.get());
    }
    assertEquals(1, sends().stream().distinct().count());
  }

  @Test
  void waitsAsLongAsTheServerAsks() {
    fails(FakeServer.later(Status.Code.UNAVAILABLE, "LEDGER_UNAVAILABLE", Duration.ofMillis(700)));
    long began = System.nanoTime();
    push.send(ANY);
    assertTrue(System.nanoTime() - began >= Duration.ofMillis(700).toNanos());
  }

  @Test
  void doesNotWaitForWhatComesTooLate() {
    fails(FakeServer.later(Status.Code.UNAVAILABLE, "LEDGER_UNAVAILABLE", Duration.ofMinutes(1)));
    long began = System.nanoTime();
    PushException failure = assertThrows(PushException.class, () -> push.send(ANY));
    assertTrue(System.nanoTime() - began < Duration.ofSeconds(5).toNanos());
    assertEquals("LEDGER_UNAVAILABLE", failure.reason());
    assertEquals(Duration.ofMinutes(1), failure.retryDelay().orElseThrow());
  }

  @Test
  void anUnreachableServerIsToldWithTheTriesBefore() {
    server.stop();
    PushException failure =
        assertThrows(PushException.class, () -> push.withTimeout(Duration.ofMillis(500)).send(ANY));
    assertEquals(Status.Code.UNAVAILABLE, failure.code());
    assertEquals(1, failure.getSuppressed().length);
    assertTrue(failure.getMessage().contains("Connection refused"), failure.getMessage());
    assertEquals(36, failure.requestId().length());
  }

  @Test
  void doesNotRepeatARefusal() {
    fails(
        FakeServer.refusal(
            Status.Code.INVALID_ARGUMENT,
            "WAIT_TOO_LONG",
            Map.of("field", "wait", "limit", "30"),
            List.of("wait", "message.badge"),
            null));
    PushException failure = assertThrows(PushException.class, () -> push.send(ANY));
    assertEquals(1, sends().size());
    assertEquals(Status.Code.INVALID_ARGUMENT, failure.code());
    assertEquals("WAIT_TOO_LONG", failure.reason());
    assertEquals(Map.of("field", "wait", "limit", "30"), failure.metadata());
    assertEquals(
        List.of("wait", "message.badge"), failure.fieldViolations().stream().map(FieldViolation::getField).toList());
    assertTrue(failure.retryDelay().isEmpty());
    assertEquals("INVALID_ARGUMENT WAIT_TOO_LONG: what is wrong", failure.getMessage());
  }

  @Test
  void doesNotRepeatTheServersOwnInternalError() {
    fails(refusal(Status.Code.INTERNAL, "INTERNAL_ERROR"));
    assertEquals("INTERNAL_ERROR", assertThrows(PushException.class, () -> push.send(ANY)).reason());
    assertEquals(1, sends().size());
  }

  @Test
  void keepsItsDeadline() {
    server.onSend = (request, answer) -> {};
    PushException failure =
        assertThrows(PushException.class, () -> push.withTimeout(Duration.ofMillis(200)).send(ANY));
    assertEquals(Status.Code.DEADLINE_EXCEEDED, failure.code());
    assertEquals("", failure.reason());
  }

  @Test
  void addsTheRequestsWaitToItsDeadline() throws Exception {
    try (var threads = new Threads()) {
      server.onSend =
          (request, answer) ->
              threads.pool.schedule(() -> FakeServer.answer(answer, RECEIPT), 600, TimeUnit.MILLISECONDS);
      SendNotificationRequest waiting =
          ANY.toBuilder().setWait(com.google.protobuf.Duration.newBuilder().setSeconds(20)).build();
      assertEquals(RECEIPT, push.withTimeout(Duration.ofMillis(300)).send(waiting));
    }
  }

  @Test
  void endsWithTheCallersContext() throws Exception {
    try (var threads = new Threads()) {
      server.onSend = (request, answer) -> answer.onError(refusal(Status.Code.UNAVAILABLE, "DRAINING"));
      Context context = Context.current().withDeadlineAfter(300, TimeUnit.MILLISECONDS, threads.pool);
      long began = System.nanoTime();
      context.run(() -> assertThrows(PushException.class, () -> push.send(ANY)));
      assertTrue(System.nanoTime() - began < Duration.ofSeconds(5).toNanos());
    }
  }

  @Test
  void aThreadThatIsInterruptedStopsSending() throws Exception {
    server.onSend = (request, answer) -> {};
    AtomicReference<PushException> failure = new AtomicReference<>();
    CountDownLatch wasFlagged = new CountDownLatch(1);
    Thread sender =
        new Thread(
            () -> {
              failure.set(assertThrows(PushException.class, () -> push.send(ANY)));
              if (Thread.currentThread().isInterrupted()) {
                wasFlagged.countDown();
              }
            });
    sender.start();
    while (sends().isEmpty()) {
      Thread.onSpinWait();
    }
    sender.interrupt();
    sender.join();
    assertEquals(Status.Code.CANCELLED, failure.get().code());
    assertEquals(0, wasFlagged.getCount());
  }

  @Test
  void aThreadThatIsInterruptedInAPauseKnowsItsRequestId() throws Exception {
    fails(FakeServer.later(Status.Code.UNAVAILABLE, "DRAINING", Duration.ofSeconds(5)));
    AtomicReference<PushException> failure = new AtomicReference<>();
    Thread sender = new Thread(() -> failure.set(assertThrows(PushException.class, () -> push.send(ANY))));
    sender.start();
    while (sender.getState() != Thread.State.TIMED_WAITING || sends().isEmpty()) {
      Thread.onSpinWait();
    }
    sender.interrupt();
    sender.join();
    assertEquals(Status.Code.CANCELLED, failure.get().code());
    assertEquals(sends().get(0).getRequestId(), failure.get().requestId());
  }

  @Test
  void aClosedClientSendsNothing() {
    push.close();
    push.close();
    PushException failure = assertThrows(PushException.class, () -> push.send(ANY));
    assertEquals(Status.Code.CANCELLED, failure.code());
    assertEquals("CLIENT_CLOSED", failure.reason());
    assertEquals(36, failure.requestId().length());
    assertFalse(server.calls.iterator().hasNext());
  }

  @Test
  void closingCutsOffASendThatTakesTooLong() throws Exception {
    server.onSend = (request, answer) -> {};
    try (var threads = new Threads()) {
      var sending =
          threads.pool.submit(
              () -> assertThrows(PushException.class, () -> push.withTimeout(Duration.ofSeconds(25)).send(ANY)));
      while (sends().isEmpty()) {
        Thread.onSpinWait();
      }
      push.close();
      assertEquals("CLIENT_CLOSED", sending.get(2, TimeUnit.SECONDS).reason());
      assertEquals(1, sends().size());
    }
  }

  @Test
  void closingEndsThePauseBetweenTwoTries() throws Exception {
    CountDownLatch refused = new CountDownLatch(1);
    server.onSend =
        (request, answer) -> {
          answer.onError(FakeServer.later(Status.Code.UNAVAILABLE, "DRAINING", Duration.ofSeconds(20)));
          refused.countDown();
        };
    try (var threads = new Threads()) {
      var sending =
          threads.pool.submit(
              () -> assertThrows(PushException.class, () -> push.withTimeout(Duration.ofSeconds(25)).send(ANY)));
      refused.await();
      push.close();
      assertEquals("CLIENT_CLOSED", sending.get(2, TimeUnit.SECONDS).reason());
    }
  }

  private List<SendNotificationRequest> sends() {
    return server.requests(SendNotificationRequest.class);
  }

  /** Answers with each of these, then with the receipt. */
  private void fails(Throwable... failures) {
    Queue<Throwable> left = new ArrayDeque<>(List.of(failures));
    server.onSend =
        (request, answer) -> {
          Throwable failure = left.poll();
          if (failure == null) {
            FakeServer.answer(answer, RECEIPT);
          } else {
            answer.onError(failure);
          }
        };
  }

  private static Throwable refusal(Status.Code code, String reason) {
    return FakeServer.refusal(code, reason);
  }
}
