package dev.pushrpc.client;

import dev.pushrpc.v1.PushServiceGrpc;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.SendNotificationResponse;
import dev.pushrpc.v1.SendNotificationsRequest;
import dev.pushrpc.v1.SendNotificationsResponse;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Sends many notifications over one stream, and gives each its own receipt. Safe for use by many threads.
 *
 * <p>Requests are gathered into messages of at most 500 sends, 10,000 targets and less than 4 MiB, for at most 5 ms; at
 * most four messages are unanswered at a time. When the server is slower than that, {@link #add} waits: that is the
 * back-pressure, and it bounds what is held in memory.
 *
 * <p>When the stream breaks, or leaves something unanswered for 60 s, another is opened, with pauses of 0.1 s to 5 s,
 * and what is unanswered is sent again under the same request ids, so that nothing is pushed twice. When no stream
 * answers for 20 s more, what is unanswered fails with {@code UNAVAILABLE}: whether it was accepted is not known then,
 * and to send it again under its {@link PushException#requestId} is safe. A refusal that stays, of the codes that end a
 * {@link Following}, fails what is unanswered at once. In both cases later sends start anew.
 */
public final class BulkSender implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger("dev.pushrpc.client");
  private static final int UNANSWERED_MAX = 4;
  private static final long GATHER_MS = 5;
  private static final Duration PAUSE_MAX = Duration.ofSeconds(5);
  private static final long WATCH_MS = 500;

  private final Connection connection;
  private final ScheduledThreadPoolExecutor clock;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final Backoff backoff = new Backoff(PAUSE_MAX);
  private final Deque<BulkGroup> unanswered = new ArrayDeque<>(UNANSWERED_MAX);

  private final Set<Thread> tellers = new HashSet<>();
  private final Runnable ending = this::endWithClient;

  private BulkGroup gathering = new BulkGroup(1);
  private Stream stream; // null before the first message, and between a break and the next try
  private boolean isPausing;
  private boolean isClosed;
  private long heardAt; // when something was answered, or became unanswered
  private PushException lastBreak;
  private int untold; // groups whose receipts are being given out

  BulkSender(Connection connection) {
    this.connection = connection;
    this.clock = new ScheduledThreadPoolExecutor(1, BulkSender::daemon);
    clock.setRemoveOnCancelPolicy(true);
    connection.endings().add(ending);
    clock.scheduleWithFixedDelay(this::watch, WATCH_MS, WATCH_MS, TimeUnit.MILLISECONDS);
  }

  /**
   * Adds one send; waits while four messages are unanswered and the next is full.
   *
   * @param request as for {@link PushClient#send}; {@code wait} and {@code options.dry_run} are refused in bulk
   * @return its receipt, or a {@link PushException} as the cause of its failure
   * @throws PushException with code {@code CANCELLED} when the waiting thread is interrupted, and with reason {@code
   *     CLIENT_CLOSED} when this or its client is closed; nothing was added then
   */
  public CompletableFuture<SendNotificationResponse> add(SendNotificationRequest request) {
    SendNotificationRequest whole = PushClient.identified(request);
    Optional<PushException> misfit = BulkGroup.misfit(whole);
    if (misfit.isPresent()) {
      return CompletableFuture.failedFuture(misfit.get());
    }
    lock.lock();
    try {
      awaitRoom(whole);
      CompletableFuture<SendNotificationResponse> receipt = gathering.add(whole);
      if (gathering.isFull()) {
        dispatchIfAllowed();
      } else if (gathering.size() == 1) {
        BulkGroup group = gathering;
        clock.schedule(() -> due(group), GATHER_MS, TimeUnit.MILLISECONDS);
      }
      return receipt;
    } catch (InterruptedException e) {
      throw PushException.interrupted().ofSend(whole.getRequestId());
    } finally {
      lock.unlock();
    }
  }

  /**
   * Waits until every receipt and failure is with whoever added the send, with all that follows it without another
   * executor, and ends the stream. That takes at most 80 s longer than the server goes on answering. When the waiting
   * thread is interrupted, what is unanswered fails with code {@code CANCELLED}. Called by what follows a receipt, it
   * waits for the answers only. Closing again does nothing.
   */
  @Override
  public void close() {
    lock.lock();
    try {
      isClosed = true;
      changed.signalAll();
      gathering.isDue = true;
      dispatchIfAllowed();
      boolean tells = tellers.contains(Thread.currentThread());
      while (!unanswered.isEmpty() || gathering.size() > 0 || (untold > 0 && !tells)) {
        changed.await();
      }
      if (stream != null) {
        stream.call.halfClose();
        stream = null;
      }
    } catch (InterruptedException e) {
      failAll(PushException.interrupted());
    } finally {
      lock.unlock();
      connection.endings().remove(ending);
      clock.shutdownNow();
    }
  }

  private void awaitRoom(SendNotificationRequest request) throws InterruptedException {
    while (!isOver() && !gathering.takes(request)) {
      gathering.isDue = true;
      if (!dispatchIfAllowed()) {
        changed.await();
      }
    }
    if (isOver()) {
      throw PushException.closed().ofSend(request.getRequestId());
    }
  }

  private boolean isOver() {
    return isClosed || connection.isClosed();
  }

  /** The group has waited long enough for company. */
  private void due(BulkGroup group) {
    lock.lock();
    try {
      group.isDue = true;
      dispatchIfAllowed();
    } finally {
      lock.unlock();
    }
  }

  private boolean dispatchIfAllowed() {
    boolean isReady = gathering.isFull() || (gathering.isDue && gathering.size() > 0);
    if (!isReady || unanswered.size() >= UNANSWERED_MAX) {
      return false;
    }
    if (unanswered.isEmpty()) {
      heardAt = System.nanoTime();
    }
    BulkGroup group = gathering;
    unanswered.add(group);
    gathering = new BulkGroup(group.sequence() + 1);
    changed.signalAll();
    if (stream != null) {
      stream.call.sendMessage(group.message(connection.appId()));
    } else if (!isPausing) {
      open();
    }
    return true;
  }

  /** Opens a stream and sends all that is unanswered, in order. */
  private void open() {
    isPausing = false;
    connection.reconnect();
    Stream opened;
    Context before = Context.ROOT.attach(); // many threads share it: no one's deadline may end it
    try {
      opened = new Stream();
      stream = opened; // before it starts, which may break it at once
      opened.start();
    } finally {
      Context.ROOT.detach(before);
    }
    for (BulkGroup group : unanswered) {
      opened.call.sendMessage(group.message(connection.appId()));
    }
  }

  private void reopen() {
    lock.lock();
    try {
      if (isPausing && !unanswered.isEmpty()) {
        open();
      }
      isPausing = false;
    } finally {
      lock.unlock();
    }
  }

  private void answered(Stream from, SendNotificationsResponse response) {
    lock.lock();
    try {
      if (from != stream) {
        return;
      }
      from.call.request(1);
      BulkGroup group =
          unanswered.stream().filter(each -> each.sequence() == response.getSequence()).findFirst().orElse(null);
      if (group == null) {
        return;
      }
      backoff.reset();
      lastBreak = null;
      heardAt = System.nanoTime();
      unanswered.remove(group);
      tell(() -> group.settle(response.getReceiptsList()));
      dispatchIfAllowed();
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** Gives receipts out on other threads than the stream's: what follows one may well wait in {@link #add}. */
  private void tell(Runnable receipts) {
    untold++;
    // The common pool, or a new thread where that has none of its own.
    new CompletableFuture<>().defaultExecutor().execute(() -> {
      telling(true);
      try {
        receipts.run();
      } finally {
        telling(false);
      }
    });
  }

  private void telling(boolean begins) {
    lock.lock();
    try {
      if (begins) {
        tellers.add(Thread.currentThread());
      } else {
        tellers.remove(Thread.currentThread());
        untold--;
        changed.signalAll();
      }
    } finally {
      lock.unlock();
    }
  }

  private void broken(Stream from, PushException failure) {
    lock.lock();
    try {
      if (from != stream) {
        return;
      }
      stream = null;
      if (unanswered.isEmpty()) {
        return; // the next message opens another
      }
      lastBreak = failure;
      if (failure.isFinal() || connection.isClosed()) {
        failAll(failure.isFinal() ? failure : PushException.closed());
        return;
      }
      Duration pause = backoff.next(failure.retryDelay());
      LOG.log(System.Logger.Level.INFO, "bulk stream: {0}; again in {1} ms", failure.getMessage(), pause.toMillis());
      isPausing = true;
      clock.schedule(this::reopen, pause.toNanos(), TimeUnit.NANOSECONDS);
    } finally {
      lock.unlock();
    }
  }

  /** Leaves a stream on which nothing is answered, and gives up on what none has answered. */
  private void watch() {
    lock.lock();
    try {
      long now = System.nanoTime();
      if (unanswered.isEmpty()) {
        return;
      }
      Duration limit = connection.patience().plus(connection.openingMax());
      Stream current = stream;
      if (now - heardAt > limit.toNanos()) {
        failAll(unanswered(limit));
      } else if (current != null && now - Math.max(heardAt, current.openedAt) > connection.patience().toNanos()) {
        String detail = "no answer came within " + connection.patience().toMillis() + " ms";
        broken(current, PushException.local(Status.Code.UNAVAILABLE, "", detail));
        current.call.cancel(detail, null);
      }
    } finally {
      lock.unlock();
    }
  }

  private PushException unanswered(Duration limit) {
    String last = lastBreak == null ? "" : " (" + lastBreak.getMessage() + ")";
    String detail =
        "no answer came within " + limit.toMillis() + " ms" + last
            + "; it is not known whether this was accepted: send it again under its request_id";
    return PushException.local(Status.Code.UNAVAILABLE, "", detail);
  }

  private void endWithClient() {
    lock.lock();
    try {
      failAll(PushException.closed());
    } finally {
      lock.unlock();
    }
  }

  private void failAll(PushException failure) {
    unanswered.forEach(group -> tell(() -> group.fail(failure)));
    unanswered.clear();
    BulkGroup gathered = gathering;
    tell(() -> gathered.fail(failure));
    gathering = new BulkGroup(gathering.sequence() + 1);
    isPausing = false;
    if (stream != null) {
      stream.call.cancel(failure.getMessage(), failure);
      stream = null;
    }
    changed.signalAll();
  }

  private static Thread daemon(Runnable work) {
    Thread thread = new Thread(work, "pushrpc-bulk");
    thread.setDaemon(true);
    return thread;
  }

  /** One try of the stream. */
  private final class Stream extends ClientCall.Listener<SendNotificationsResponse> {
    private final long openedAt = System.nanoTime();
    private final ClientCall<SendNotificationsRequest, SendNotificationsResponse> call =
        connection.stream(PushServiceGrpc.getSendNotificationsMethod());

    void start() {
      call.start(this, new Metadata());
      call.request(UNANSWERED_MAX);
    }

    @Override
    public void onMessage(SendNotificationsResponse response) {
      answered(this, response);
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      Status why = status.isOk() ? Status.UNAVAILABLE.withDescription("the stream ended early") : status;
      broken(this, PushException.of(why, trailers));
    }
  }
}
