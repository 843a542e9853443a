package dev.pushrpc.client;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;

/** Pauses before the next try: 0.1 s, doubled up to a limit, each ± 20 % so that callers do not come back together. */
final class Backoff {
  private static final Duration FIRST = Duration.ofMillis(100);
  private static final double JITTER = 0.2;

  private final Duration longest;
  private Duration step = FIRST;

  Backoff(Duration longest) {
    this.longest = longest;
  }

  /** Never shorter than what the server asked for. */
  Duration next(Optional<Duration> asked) {
    double factor = 1 + ThreadLocalRandom.current().nextDouble(-JITTER, JITTER);
    Duration pause = Duration.ofNanos((long) (step.toNanos() * factor));
    step = shorter(step.multipliedBy(2), longest);
    return asked.filter(least -> least.compareTo(pause) > 0).orElse(pause);
  }

  /** Something worked: the next trouble begins anew. */
  void reset() {
    step = FIRST;
  }

  private static Duration shorter(Duration one, Duration other) {
    return one.compareTo(other) < 0 ? one : other;
  }
}
