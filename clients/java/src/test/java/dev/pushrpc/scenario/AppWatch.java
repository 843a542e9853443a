package dev.pushrpc.scenario;

import dev.pushrpc.client.FollowListener;
import dev.pushrpc.client.PushException;
import dev.pushrpc.v1.DeliveryEvent;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;

/** What the background follower saw. */
final class AppWatch implements FollowListener {
  private final Set<String> ids = new HashSet<>();
  private final List<String> tokens = new ArrayList<>();
  private int repeats;
  private boolean isOpen;
  private PushException failure;

  @Override
  public synchronized void onOpen() {
    isOpen = true;
    notifyAll();
  }

  @Override
  public synchronized void onEvent(DeliveryEvent event) {
    if (!ids.add(event.getEventId())) {
      repeats++;
    }
    if (event.getFinal()) {
      tokens.add(event.getToken());
    }
    notifyAll();
  }

  @Override
  public synchronized void onFailure(PushException failure) {
    this.failure = failure;
    notifyAll();
  }

  synchronized void awaitOpen() throws InterruptedException, TimeoutException {
    await(() -> isOpen, "the stream did not open");
  }

  synchronized Map<String, ?> collected(int finals) throws InterruptedException, TimeoutException {
    await(() -> tokens.size() >= finals, "too few final events came");
    return Map.of("finals", tokens.size(), "tokens", tokens.stream().sorted().toList(), "repeats", repeats);
  }

  private void await(BooleanSupplier condition, String otherwise) throws InterruptedException, TimeoutException {
    long until = System.nanoTime() + Scenario.STEP_TIMEOUT.toNanos();
    while (!condition.getAsBoolean()) {
      long leftMs = (until - System.nanoTime()) / 1_000_000;
      if (failure != null) {
        throw failure;
      }
      if (leftMs <= 0) {
        throw new TimeoutException(otherwise);
      }
      wait(leftMs);
    }
  }
}
