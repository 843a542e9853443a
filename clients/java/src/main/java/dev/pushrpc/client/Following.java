package dev.pushrpc.client;

import dev.pushrpc.v1.DeliveryCounts;
import dev.pushrpc.v1.DeliveryEvent;
import dev.pushrpc.v1.PushServiceGrpc;
import dev.pushrpc.v1.StreamDeliveryStatusRequest;
import dev.pushrpc.v1.StreamDeliveryStatusResponse;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Status;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Collections;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Events of deliveries, one by one, without gap or repeat.
 *
 * <p>The stream opens at once. When the connection breaks, the server asks to come back, or nothing was heard for a
 * minute, it opens again after the last page that came, with pauses of 0.1 s to 5 s, as long as it takes; each such
 * break is logged by {@link System.Logger} {@code dev.pushrpc.client}. The iterator throws {@link PushException} only
 * for what stays wrong, such as {@code CURSOR_EXPIRED} or {@code NOTIFICATION_NOT_FOUND} (codes {@code
 * INVALID_ARGUMENT}, {@code NOT_FOUND}, {@code OUT_OF_RANGE}, {@code ALREADY_EXISTS}, {@code FAILED_PRECONDITION},
 * {@code UNIMPLEMENTED}, {@code UNAUTHENTICATED}, {@code PERMISSION_DENIED}), when the caller's own context has ended,
 * and with {@code CLIENT_CLOSED} when the client was closed.
 *
 * <p>At first, before the server has sent anything, it gives up after 20 s of waiting: with the last try's failure, or
 * with {@code UNAVAILABLE} when the server was silent all the time.
 *
 * <p>Reading ahead is bounded: while nobody takes events, at most three pages of at most 500 events and 1 MiB are held,
 * and the server waits.
 *
 * <p>One thread iterates; {@link #close}, {@link #cursor} and {@link #counts} may be used by any. A thread that is
 * interrupted while it waits gets a {@link PushException} with code {@code CANCELLED} and keeps its interrupt flag.
 */
public final class Following implements Iterable<DeliveryEvent>, AutoCloseable {
  private static final System.Logger LOG = System.getLogger("dev.pushrpc.client");
  private static final Duration PAUSE_MAX = Duration.ofSeconds(5);

  private final Connection connection;
  private final StreamDeliveryStatusRequest request;
  private final Context caller = Context.current();
  private final Backoff backoff = new Backoff(PAUSE_MAX);
  private final CountDownLatch closing = new CountDownLatch(1);
  private final Events events = new Events();
  private final Runnable ending = this::wake;

  private volatile Stream stream;
  private volatile String cursor;
  private volatile DeliveryCounts counts;
  private volatile boolean isDelivered;
  private volatile boolean isLeft;

  private String resumeAt;
  private boolean isOpen;
  private boolean isBroken;
  private Deadline opening; // from the first wait on
  private PushException lastBreak;
  private PushException refusal;

  Following(Connection connection, StreamDeliveryStatusRequest request) {
    this.connection = connection;
    this.request = request;
    this.resumeAt = request.getCursor();
    this.cursor = request.getCursor();
    reopen();
    connection.endings().add(ending);
  }

  /**
   * The events from here on. There is one position: every call returns the same iterator.
   *
   * <p>{@code hasNext()} waits for the next event. It is false once all is told, or this was closed.
   *
   * @return throws {@link PushException} when the server refuses to go on, or the client was closed
   * @throws IllegalStateException when a {@link FollowListener} gets the events
   */
  @Override
  public Iterator<DeliveryEvent> iterator() {
    if (isDelivered) {
      throw new IllegalStateException("the events go to a listener");
    }
    return events;
  }

  /**
   * The cursor to persist: everything before it was returned by the iterator. It moves with the last event of each page
   * and with heartbeats, so persist it after having dealt with an event.
   *
   * @return what was asked for until the first page is read; maybe empty
   */
  public String cursor() {
    return cursor;
  }

  /**
   * What became of the named notifications.
   *
   * @return empty until all is told; all zero when the whole app was followed
   */
  public Optional<DeliveryCounts> counts() {
    return Optional.ofNullable(counts);
  }

  /**
   * Waits until the server has begun to answer: of the whole app, no event after this moment will be missed. Used by
   * the iterating thread, before it iterates.
   *
   * @param timeout how long to wait
   * @return whether the stream is open
   * @throws PushException when the server refuses, this was waited for in vain for 20 s in all, or the client was
   *     closed
   */
  public boolean awaitOpen(Duration timeout) {
    long until = System.nanoTime() + timeout.toNanos();
    while (!isOpen && !isOver()) {
      long left = until - System.nanoTime();
      if (left <= 0) {
        return false;
      }
      advance(Duration.ofNanos(left));
    }
    return isOpen;
  }

  /** Ends the stream; a waiting iterator ends too. */
  @Override
  public void close() {
    isLeft = true;
    connection.endings().remove(ending);
    wake();
  }

  /** Has whoever waits look again; the client does so when it is closed. */
  private void wake() {
    closing.countDown();
    stream.cancel();
  }

  /** Hands everything to the listener, on a thread of its own. */
  void deliverTo(FollowListener listener) {
    isDelivered = true;
    Thread thread = new Thread(() -> deliver(listener), "pushrpc-follow");
    thread.setDaemon(true);
    thread.start();
  }

  private void deliver(FollowListener listener) {
    try {
      boolean isOpenTold = false;
      String told = cursor;
      while (!isOver()) {
        if (!events.page.hasNext()) {
          advance(connection.patience());
        }
        if (isOpen && !isOpenTold) {
          isOpenTold = true;
          listener.onOpen();
        }
        while (events.page.hasNext() && !isLeft) {
          listener.onEvent(events.next());
        }
        if (!cursor.equals(told)) {
          told = cursor;
          listener.onCursor(told);
        }
      }
      if (counts != null) {
        listener.onEnd(counts);
      }
    } catch (PushException failure) {
      if (failure != refusal) {
        throw failure; // the listener's own
      }
      listener.onFailure(failure);
    } finally {
      close();
    }
  }

  /** Takes in one message, or one break. Throws the refusal that ends it all. */
  private void advance(Duration patience) {
    if (refusal != null) {
      throw refusal;
    }
    if (connection.isClosed()) {
      throw refused(PushException.closed());
    }
    try {
      Object signal = stream.take(isOpen ? patience : untilOpened(patience));
      if (signal instanceof StreamDeliveryStatusResponse message) {
        take(message);
      } else if (signal instanceof PushException broken) {
        resume(broken);
      } else if (!isOpen && opening.isExpired()) {
        throw refused(lastBreak == null ? unopened() : lastBreak);
      }
    } catch (InterruptedException e) {
      throw PushException.interrupted();
    }
  }

  private void take(StreamDeliveryStatusResponse message) throws InterruptedException {
    backoff.reset();
    isOpen = true;
    isBroken = false;
    resumeAt = message.getCursor();
    if (message.getEventsCount() > 0) {
      events.page = message.getEventsList().iterator();
      return;
    }
    cursor = resumeAt;
    if (message.hasEnd()) {
      counts = message.getEnd().getCounts();
      connection.endings().remove(ending);
    } else if (message.hasReconnect()) {
      stream.cancel();
      pause(Durations.of(message.getReconnect().getDelay()));
      reopen();
    }
  }

  private void resume(PushException broken) throws InterruptedException {
    if (closing.getCount() == 0) {
      return; // who waits finds out why
    }
    lastBreak = broken;
    Duration pause = backoff.next(broken.retryDelay());
    boolean isTooLate = !isOpen && Connection.endsWithin(opening, pause);
    if (broken.isFinal() || isTooLate || !Connection.isWanted(caller)) {
      throw refused(broken);
    }
    Level level = isBroken ? Level.DEBUG : Level.INFO;
    LOG.log(level, "status stream: {0}; again in {1} ms", broken.getMessage(), pause.toMillis());
    isBroken = true;
    pause(pause);
    reopen();
  }

  private PushException refused(PushException failure) {
    refusal = failure;
    stream.cancel();
    connection.endings().remove(ending);
    return failure;
  }

  /** How long to wait for the first message: no longer than the patience, nor than the opening may take. */
  private Duration untilOpened(Duration patience) {
    if (opening == null) {
      opening = Connection.deadline(connection.openingMax());
    }
    return Duration.ofNanos(Math.min(patience.toNanos(), opening.timeRemaining(TimeUnit.NANOSECONDS)));
  }

  private PushException unopened() {
    String detail = "the server sent nothing for " + connection.openingMax().toMillis() + " ms";
    return PushException.local(Status.Code.UNAVAILABLE, "", detail);
  }

  private void pause(Duration pause) throws InterruptedException {
    closing.await(pause.toNanos(), TimeUnit.NANOSECONDS);
  }

  private void reopen() {
    connection.reconnect();
    StreamDeliveryStatusRequest.Builder from = request.toBuilder().setCursor(resumeAt);
    if (!resumeAt.isEmpty()) {
      from.clearStart(); // a cursor is where a stream begins; the server refuses both
    }
    Context before = caller.attach(); // also on a listener's thread, and when it iterates elsewhere
    try {
      stream = new Stream(connection, from.build());
    } finally {
      caller.detach(before);
    }
    if (closing.getCount() == 0) {
      stream.cancel();
    }
  }

  private boolean isOver() {
    return isLeft || (counts != null && !events.page.hasNext());
  }

  /** The iterator: the rest of the page at hand, then the next one. */
  private final class Events implements Iterator<DeliveryEvent> {
    private Iterator<DeliveryEvent> page = Collections.emptyIterator();

    @Override
    public boolean hasNext() {
      while (!isOver()) {
        if (page.hasNext()) {
          return true;
        }
        advance(connection.patience());
      }
      return false;
    }

    @Override
    public DeliveryEvent next() {
      if (!hasNext()) {
        throw new NoSuchElementException("all is told");
      }
      DeliveryEvent event = page.next();
      if (!page.hasNext()) {
        cursor = resumeAt;
      }
      return event;
    }
  }

  /** One try: the messages that came, and how it ended. */
  private static final class Stream extends ClientCall.Listener<StreamDeliveryStatusResponse> {
    private static final int MESSAGES_AHEAD = 2;

    private final Duration silenceMax;
    private final ClientCall<StreamDeliveryStatusRequest, StreamDeliveryStatusResponse> call;
    private final BlockingQueue<Object> signals = new ArrayBlockingQueue<>(MESSAGES_AHEAD + 1);
    private long heardAt = System.nanoTime();

    Stream(Connection connection, StreamDeliveryStatusRequest request) {
      silenceMax = connection.patience();
      call = connection.stream(PushServiceGrpc.getStreamDeliveryStatusMethod());
      call.start(this, new Metadata());
      call.request(MESSAGES_AHEAD);
      call.sendMessage(request);
      call.halfClose();
    }

    /** The next message, a PushException that says how the stream broke, or null when the patience has an end. */
    Object take(Duration patience) throws InterruptedException {
      Object signal = signals.poll(patience.toNanos(), TimeUnit.NANOSECONDS);
      if (signal == null) {
        return System.nanoTime() - heardAt < silenceMax.toNanos() ? null : silence();
      }
      heardAt = System.nanoTime();
      if (signal instanceof StreamDeliveryStatusResponse) {
        call.request(1);
      }
      return signal;
    }

    void cancel() {
      call.cancel("not followed any more", null);
    }

    @Override
    public void onMessage(StreamDeliveryStatusResponse message) {
      signals.add(message);
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      signals.add(status.isOk() ? leftEarly() : PushException.of(status, trailers));
    }

    private PushException silence() {
      cancel();
      return PushException.local(Status.Code.UNAVAILABLE, "", "nothing was heard for " + silenceMax.toMillis() + " ms");
    }

    private static PushException leftEarly() {
      return PushException.local(Status.Code.UNAVAILABLE, "", "the stream ended before its end was told");
    }
  }
}
