package dev.pushrpc.client;

import dev.pushrpc.v1.DeliveryCounts;
import dev.pushrpc.v1.DeliveryEvent;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** A listener that keeps what it hears, in words. */
final class Heard implements FollowListener {
  private final BlockingQueue<String> said = new LinkedBlockingQueue<>();

  List<String> until(String last) throws InterruptedException {
    List<String> all = new ArrayList<>();
    while (!all.contains(last)) {
      all.add(said.take());
    }
    return all;
  }

  @Override
  public void onOpen() {
    said.add("open");
  }

  @Override
  public void onEvent(DeliveryEvent event) {
    said.add(event.getEventId());
  }

  @Override
  public void onCursor(String cursor) {
    said.add("cursor " + cursor);
  }

  @Override
  public void onEnd(DeliveryCounts counts) {
    said.add("end " + counts.getTotal());
  }

  @Override
  public void onFailure(PushException failure) {
    said.add(failure.reason().isEmpty() ? failure.code().name() : failure.reason());
  }
}
