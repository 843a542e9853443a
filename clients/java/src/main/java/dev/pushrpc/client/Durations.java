package dev.pushrpc.client;

import java.time.Duration;

/** Protobuf's durations as Java's. */
final class Durations {
  private Durations() {}

  static Duration of(com.google.protobuf.Duration told) {
    return Duration.ofSeconds(told.getSeconds(), told.getNanos());
  }
}
