package dev.pushrpc.client;

import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;

/** Threads of one test, gone with it. */
final class Threads implements AutoCloseable {
  final ScheduledExecutorService pool = Executors.newScheduledThreadPool(4);

  @Override
  public void close() {
    pool.shutdownNow();
  }
}
