package dev.pushrpc.client;

import dev.pushrpc.v1.DeliveryCounts;
import dev.pushrpc.v1.DeliveryEvent;
import dev.pushrpc.v1.StreamDeliveryStatusResponse;
import dev.pushrpc.v1.StreamEnd;
import dev.pushrpc.v1.StreamHeartbeat;
import dev.pushrpc.v1.StreamReconnect;
import java.time.Duration;
import java.util.stream.Stream;

/** What a server tells who follows. */
final class Told {
  static final StreamDeliveryStatusResponse END =
      StreamDeliveryStatusResponse.newBuilder()
          .setCursor("c-end")
          .setEnd(StreamEnd.newBuilder().setCounts(DeliveryCounts.newBuilder().setTotal(3).setSent(3)))
          .build();

  static StreamDeliveryStatusResponse reconnect(String cursor, Duration delay) {
    var asked =
        com.google.protobuf.Duration.newBuilder().setSeconds(delay.getSeconds()).setNanos(delay.getNano());
    return StreamDeliveryStatusResponse.newBuilder()
        .setCursor(cursor)
        .setReconnect(StreamReconnect.newBuilder().setDelay(asked))
        .build();
  }

  static StreamDeliveryStatusResponse page(String cursor, String... eventIds) {
    var events = Stream.of(eventIds).map(id -> DeliveryEvent.newBuilder().setEventId(id).build()).toList();
    return StreamDeliveryStatusResponse.newBuilder().addAllEvents(events).setCursor(cursor).build();
  }

  static StreamDeliveryStatusResponse largePage(int number, int events) {
    var page = StreamDeliveryStatusResponse.newBuilder().setCursor("c-" + number);
    for (int i = 0; i < events; i++) {
      page.addEventsBuilder().setEventId(Integer.toString(number * events + i)).setToken("t".repeat(4096));
    }
    return page.build();
  }

  static StreamDeliveryStatusResponse heartbeat(String cursor) {
    return StreamDeliveryStatusResponse.newBuilder()
        .setCursor(cursor)
        .setHeartbeat(StreamHeartbeat.newBuilder().setCaughtUp(true))
        .build();
  }

  private Told() {}
}
