package dev.pushrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.pushrpc.v1.NotificationContent;
import dev.pushrpc.v1.Rejection;
import dev.pushrpc.v1.SendFailure;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.SendNotificationResponse;
import dev.pushrpc.v1.SendNotificationsRequest;
import dev.pushrpc.v1.SendNotificationsResponse;
import dev.pushrpc.v1.Target;
import dev.pushrpc.v1.TokenTarget;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BiConsumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class BulkSenderTest {
  private final FakeServer server = new FakeServer();
  private final PushClient push = server.connect();

  @AfterEach
  void close() {
    push.close();
    server.close();
  }

  @Test
  void eachSendGetsItsOwnReceiptOrFailure() throws Exception {
    answers((message, stream) -> stream.onNext(receipts(message)));
    try (BulkSender bulk = push.bulk()) {
      var good = bulk.add(send("good"));
      var bad = bulk.add(send("bad"));
      var nameless = bulk.add(SendNotificationRequest.getDefaultInstance());
      assertEquals("of good", good.get().getNotificationId());
      PushException failure = (PushException) assertThrows(ExecutionException.class, bad::get).getCause();
      assertEquals(Status.Code.INVALID_ARGUMENT, failure.code());
      assertEquals("TARGET_EMPTY", failure.reason());
      assertEquals("bad", failure.requestId());
      assertEquals("target", failure.fieldViolations().get(0).getField());
      assertEquals(Duration.ofSeconds(5), failure.retryDelay().orElseThrow());
      assertNotEquals("of ", nameless.get().getNotificationId());
    }
    assertEquals("shop", messages().get(0).getAppId());
  }

  @Test
  void messagesStayWithinTheLimitsAndKeepTheOrder() throws Exception {
    answers((message, stream) -> stream.onNext(receipts(message)));
    NotificationContent large = NotificationContent.newBuilder().setBody("x".repeat(100_000)).build();
    List<SendNotificationRequest> sends = new ArrayList<>();
    IntStream.range(0, 1_200).forEach(i -> sends.add(send("many-" + i)));
    IntStream.range(0, 30).forEach(i -> sends.add(send("wide-" + i).toBuilder().setTarget(tokens(1_000)).build()));
    IntStream.range(0, 90).forEach(i -> sends.add(send("large-" + i).toBuilder().setMessage(large).build()));
    try (BulkSender bulk = push.bulk()) {
      sends.forEach(bulk::add);
    }
    List<SendNotificationRequest> arrived = new ArrayList<>();
    for (SendNotificationsRequest message : messages()) {
      assertTrue(message.getSendsCount() <= 500);
      long wide = message.getSendsList().stream().filter(each -> each.getTarget().getTokensCount() > 0).count();
      assertTrue(wide * 1_000 <= 10_000);
      assertTrue(message.getSerializedSize() < 4 * 1024 * 1024);
      arrived.addAll(message.getSendsList());
    }
    assertEquals(sends, arrived);
    assertTrue(messages().size() <= 20, "messages are filled");
  }

  @Test
  void aLonelySendLeavesSoon() throws Exception {
    answers((message, stream) -> stream.onNext(receipts(message)));
    try (BulkSender bulk = push.bulk()) {
      bulk.add(send("warm")).get();
      long began = System.nanoTime();
      bulk.add(send("lonely")).get();
      assertTrue(System.nanoTime() - began < Duration.ofSeconds(1).toNanos());
    }
  }

  @Test
  void whatFitsIntoNoMessageFailsAtOnce() {
    try (BulkSender bulk = push.bulk()) {
      var wide = bulk.add(send("wide").toBuilder().setTarget(tokens(10_001)).build());
      assertEquals("TARGET_TOO_LARGE", failure(wide).reason());
      var body = NotificationContent.newBuilder().setBody("x".repeat(4 * 1024 * 1024));
      PushException failure = failure(bulk.add(send("long").toBuilder().setMessage(body).build()));
      assertEquals(Status.Code.INVALID_ARGUMENT, failure.code());
      assertEquals("FIELD_TOO_LONG", failure.reason());
      assertEquals("long", failure.requestId());
    }
    assertTrue(server.calls.isEmpty());
  }

  @Test
  void aSlowServerHoldsTheCallerBack() throws Exception {
    BlockingQueue<Runnable> answers = new LinkedBlockingQueue<>();
    answers((message, stream) -> answers.add(() -> stream.onNext(receipts(message))));
    AtomicInteger added = new AtomicInteger();
    try (Threads threads = new Threads();
        BulkSender bulk = push.bulk()) {
      var adding =
          threads.pool.submit(
              () -> {
                for (int i = 0; i < 3_000; i++) {
                  bulk.add(send("s-" + i));
                  added.incrementAndGet();
                }
              });
      List<Runnable> due = new ArrayList<>();
      while (due.size() < 4) {
        due.add(answers.take());
      }
      assertEquals(null, answers.poll(200, TimeUnit.MILLISECONDS), "a fifth message came unasked");
      assertTrue(added.get() <= 5 * 500);
      assertFalse(adding.isDone());
      due.forEach(Runnable::run);
      threads.pool.submit(
          () -> {
            while (true) {
              answers.take().run();
            }
          });
      adding.get();
      bulk.add(send("last")).get();
    }
    assertEquals(3_001, messages().stream().mapToInt(SendNotificationsRequest::getSendsCount).sum());
  }

  @Test
  void whatABrokenStreamLeftUnansweredIsSentAgain() throws Exception {
    List<String> answered = Collections.synchronizedList(new ArrayList<>());
    AtomicInteger messages = new AtomicInteger();
    answers(
        (message, stream) -> {
          switch (messages.incrementAndGet()) {
            case 1 -> stream.onNext(receipts(message));
            case 2 -> stream.onError(FakeServer.refusal(Status.Code.UNAVAILABLE, "DRAINING"));
            case 3 -> stream.onCompleted();
            case 4 ->
                stream.onError(FakeServer.later(Status.Code.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", Duration.ZERO));
            default -> stream.onNext(receipts(message));
          }
        });
    try (BulkSender bulk = push.bulk()) {
      bulk.add(send("first")).get();
      SendNotificationResponse receipt = bulk.add(SendNotificationRequest.getDefaultInstance()).get();
      answered.add(receipt.getNotificationId());
    }
    List<SendNotificationsRequest> repeated = messages().subList(1, messages().size());
    assertEquals(4, repeated.size());
    assertEquals(1, repeated.stream().distinct().count(), "the same message under the same request ids");
    assertEquals(List.of("of " + repeated.get(0).getSends(0).getRequestId()), answered);
  }

  @Test
  void survivesAServerThatIsKilledAndStarted() throws Exception {
    CountDownLatch arrived = new CountDownLatch(1);
    answers((message, stream) -> arrived.countDown());
    try (BulkSender bulk = push.bulk()) {
      var receipt = bulk.add(send("a"));
      arrived.await();
      server.stop();
      answers((message, stream) -> stream.onNext(receipts(message)));
      server.start();
      assertEquals("of a", receipt.get().getNotificationId());
    }
  }

  @Test
  void aRefusedStreamFailsWhatIsUnansweredAndTheNextMessageOpensAnother() throws Exception {
    AtomicInteger messages = new AtomicInteger();
    answers(
        (message, stream) -> {
          if (messages.incrementAndGet() == 1) {
            stream.onError(FakeServer.refusal(Status.Code.UNAUTHENTICATED, "CALLER_UNKNOWN"));
          } else {
            stream.onNext(receipts(message));
          }
        });
    try (BulkSender bulk = push.bulk()) {
      assertEquals("CALLER_UNKNOWN", failure(bulk.add(send("a"))).reason());
      assertEquals("of b", bulk.add(send("b")).get().getNotificationId());
    }
  }

  @Test
  void aServerThatNeverAnswersIsAskedOnceMoreAndThenGivenUp() throws Exception {
    answers((message, stream) -> {});
    try (PushClient impatient = impatient(server.address());
        BulkSender bulk = impatient.bulk()) {
      long began = System.nanoTime();
      var receipt = bulk.add(send("a"));
      assertUnanswered(failure(receipt), "a");
      assertTrue(System.nanoTime() - began >= Duration.ofMillis(1_800).toNanos());
      assertEquals(2, messages().size(), "on one stream and on another");
      assertEquals(messages().get(0), messages().get(1));
      answers((message, stream) -> stream.onNext(receipts(message)));
      assertEquals("of b", bulk.add(send("b")).get().getNotificationId());
    }
  }

  @Test
  void aServerThatIsAwayOrAsksForTooMuchTimeIsGivenUp() throws Exception {
    answers((message, stream) -> stream.onError(FakeServer.later(Status.Code.ABORTED, "", Duration.ofHours(1))));
    for (String address : List.of("127.0.0.1:1", server.address())) {
      try (PushClient impatient = impatient(address);
          BulkSender bulk = impatient.bulk()) {
        assertUnanswered(failure(bulk.add(send("a"))), "a");
      }
    }
  }

  @Test
  void everyCodeThatMayPassReopensTheStream() throws Exception {
    List<Status.Code> asked = Collections.synchronizedList(new ArrayList<>());
    answers(
        (message, stream) -> {
          String[] words = message.getSends(0).getRequestId().split(" ");
          Status.Code code = Status.Code.valueOf(words[0]);
          if (asked.contains(code)) {
            asked.remove(code);
            stream.onNext(receipts(message));
          } else {
            asked.add(code);
            stream.onError(
                words.length > 1 ? FakeServer.refusal(code, words[1]) : code.toStatus().asRuntimeException());
          }
        });
    Set<String> failed = new TreeSet<>();
    try (BulkSender bulk = push.bulk()) {
      for (Status.Code code : Status.Code.values()) {
        for (String requestId : code == Status.Code.OK ? List.<String>of() : List.of(code.name(), code + " REASON")) {
          asked.clear();
          try {
            bulk.add(send(requestId)).get();
          } catch (ExecutionException refused) {
            PushException failure = (PushException) refused.getCause();
            assertEquals(requestId, failure.requestId());
            failed.add(failure.code().name());
          }
        }
      }
    }
    Set<String> isFinal =
        Set.of("INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "ALREADY_EXISTS", "FAILED_PRECONDITION",
            "UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED");
    assertEquals(isFinal, failed);
  }

  @Test
  void closingWaitsUntilEachReceiptIsToldWithAllThatFollowsIt() throws Exception {
    answers((message, stream) -> stream.onNext(receipts(message)));
    AtomicInteger told = new AtomicInteger();
    try (BulkSender bulk = push.bulk()) {
      for (int i = 0; i < 3_000; i++) {
        bulk.add(send("s-" + i)).thenRun(() -> {
          LockSupport.parkNanos(20_000);
          told.incrementAndGet();
        });
      }
    }
    assertEquals(3_000, told.get());
    answers((message, stream) -> stream.onError(FakeServer.refusal(Status.Code.UNAUTHENTICATED, "")));
    try (BulkSender bulk = push.bulk()) {
      for (int i = 0; i < 1_000; i++) {
        bulk.add(send("s-" + i)).whenComplete((receipt, failure) -> {
          LockSupport.parkNanos(20_000);
          told.decrementAndGet();
        });
      }
    }
    assertEquals(2_000, told.get());
  }

  @Test
  void whatFollowsAReceiptMayClose() throws Exception {
    answers((message, stream) -> stream.onNext(receipts(message)));
    BulkSender bulk = push.bulk();
    bulk.add(send("a")).thenRun(bulk::close).get(10, TimeUnit.SECONDS);
    assertThrows(PushException.class, () -> bulk.add(send("b")));
  }

  @Test
  void allThreadsOfTheCommonPoolMayClose() throws Exception {
    answers((message, stream) -> stream.onNext(receipts(message)));
    List<CompletableFuture<?>> closed = new ArrayList<>();
    AtomicInteger told = new AtomicInteger();
    for (int i = 0; i < 2 * ForkJoinPool.getCommonPoolParallelism() + 2; i++) {
      closed.add(
          CompletableFuture.runAsync(
              () -> {
                try (BulkSender bulk = push.bulk()) {
                  bulk.add(send("a")).thenRun(told::incrementAndGet);
                }
              },
              ForkJoinPool.commonPool()));
    }
    CompletableFuture.allOf(closed.toArray(CompletableFuture[]::new)).get(20, TimeUnit.SECONDS);
    assertEquals(closed.size(), told.get());
  }

  @Test
  void closingWaitsForEveryAnswer() throws Exception {
    try (Threads threads = new Threads()) {
      answers(
          (message, stream) ->
              threads.pool.schedule(() -> stream.onNext(receipts(message)), 300, TimeUnit.MILLISECONDS));
      BulkSender bulk = push.bulk();
      var receipt = bulk.add(send("a"));
      bulk.close();
      assertEquals("of a", receipt.get(5, TimeUnit.SECONDS).getNotificationId());
      bulk.close();
      PushException failure = assertThrows(PushException.class, () -> bulk.add(send("b")));
      assertEquals(Status.Code.CANCELLED, failure.code());
      assertEquals("CLIENT_CLOSED", failure.reason());
      assertEquals("b", failure.requestId());
    }
  }

  @Test
  void aClosedClientTakesNoMore() throws Exception {
    answers((message, stream) -> {});
    BulkSender bulk = push.bulk();
    var unanswered = bulk.add(send("a"));
    while (messages().isEmpty()) {
      Thread.onSpinWait();
    }
    long began = System.nanoTime();
    push.close();
    PushException failure = failure(unanswered);
    assertEquals(Status.Code.CANCELLED, failure.code());
    assertEquals("CLIENT_CLOSED", failure.reason());
    assertEquals("a", failure.requestId());
    assertTrue(System.nanoTime() - began < Duration.ofSeconds(2).toNanos(), "at once");
    assertEquals("CLIENT_CLOSED", assertThrows(PushException.class, () -> bulk.add(send("b"))).reason());
    bulk.close();
  }

  @Test
  void closingTheClientEndsThePauseBetweenTwoStreams() throws Exception {
    CountDownLatch refused = new CountDownLatch(1);
    answers(
        (message, stream) -> {
          stream.onError(FakeServer.later(Status.Code.UNAVAILABLE, "DRAINING", Duration.ofHours(1)));
          refused.countDown();
        });
    BulkSender bulk = push.bulk();
    var unanswered = bulk.add(send("a"));
    refused.await();
    push.close();
    assertEquals("CLIENT_CLOSED", failure(unanswered).reason());
    bulk.close();
  }

  @Test
  void takesReceiptsLargerThanWhatWasSent() throws Exception {
    Rejection rejection = Rejection.newBuilder().setDetail("x".repeat(1_000)).build();
    var accepted = SendNotificationResponse.newBuilder().addAllRejected(Collections.nCopies(10_000, rejection));
    answers(
        (message, stream) -> {
          var response = SendNotificationsResponse.newBuilder().setSequence(message.getSequence());
          response.addReceiptsBuilder().setAccepted(accepted);
          stream.onNext(response.build());
        });
    try (BulkSender bulk = push.bulk()) {
      assertEquals(10_000, bulk.add(send("a")).get().getRejectedCount());
    }
  }

  @Test
  void anInterruptedCloseGivesUp() {
    answers((message, stream) -> {});
    BulkSender bulk = push.bulk();
    var receipt = bulk.add(send("a"));
    Thread.currentThread().interrupt();
    bulk.close();
    assertTrue(Thread.interrupted());
    assertEquals(Status.Code.CANCELLED, failure(receipt).code());
  }

  @Test
  void aReceiptMayLeadToTheNextSend() throws Exception {
    answers((message, stream) -> stream.onNext(receipts(message)));
    try (BulkSender bulk = push.bulk()) {
      List<CompletableFuture<SendNotificationResponse>> chains = new ArrayList<>();
      for (int i = 0; i < 4_000; i++) {
        String next = "next-" + i;
        chains.add(bulk.add(send("s-" + i)).thenCompose(receipt -> bulk.add(send(next))));
      }
      CompletableFuture.allOf(chains.toArray(CompletableFuture[]::new)).get();
      assertEquals("of next-0", chains.get(0).get().getNotificationId());
    }
  }

  private void answers(BiConsumer<SendNotificationsRequest, StreamObserver<SendNotificationsResponse>> script) {
    server.onBulk =
        stream ->
            new StreamObserver<>() {
              @Override
              public void onNext(SendNotificationsRequest message) {
                script.accept(message, stream);
              }

              @Override
              public void onError(Throwable broken) {}

              @Override
              public void onCompleted() {
                stream.onCompleted();
              }
            };
  }

  private List<SendNotificationsRequest> messages() {
    return server.requests(SendNotificationsRequest.class);
  }

  private static SendNotificationRequest send(String requestId) {
    return SendNotificationRequest.newBuilder().setRequestId(requestId).build();
  }

  private static Target tokens(int count) {
    var tokens = TokenTarget.newBuilder();
    IntStream.range(0, count).forEach(i -> tokens.addTokens("t-" + i));
    return Target.newBuilder().addTokens(tokens).build();
  }

  /** A receipt for each send, but a refusal for "bad". */
  private static SendNotificationsResponse receipts(SendNotificationsRequest message) {
    var response = SendNotificationsResponse.newBuilder().setSequence(message.getSequence());
    for (SendNotificationRequest send : message.getSendsList()) {
      var receipt = response.addReceiptsBuilder().setRequestId(send.getRequestId());
      if (send.getRequestId().equals("bad")) {
        receipt.setError(
            SendFailure.newBuilder()
                .setCode(Status.Code.INVALID_ARGUMENT.value())
                .setReason("TARGET_EMPTY")
                .addFieldViolations(dev.pushrpc.v1.FieldViolation.newBuilder().setField("target"))
                .setRetryAfter(com.google.protobuf.Duration.newBuilder().setSeconds(5)));
      } else {
        receipt.setAccepted(SendNotificationResponse.newBuilder().setNotificationId("of " + send.getRequestId()));
      }
    }
    return response.build();
  }

  private static PushClient impatient(String address) {
    var builder = PushClient.builder(address, "shop").plaintext();
    return builder.patience(Duration.ofMillis(1_000)).openingMax(Duration.ofMillis(800)).connect();
  }

  private static void assertUnanswered(PushException failure, String requestId) {
    assertEquals(Status.Code.UNAVAILABLE, failure.code());
    assertEquals("", failure.reason());
    assertEquals(requestId, failure.requestId());
    assertTrue(failure.getMessage().contains("not known whether"), failure.getMessage());
  }

  private static PushException failure(CompletableFuture<?> receipt) {
    return (PushException) assertThrows(ExecutionException.class, receipt::get).getCause();
  }
}
