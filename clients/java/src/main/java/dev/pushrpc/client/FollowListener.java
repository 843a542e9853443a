package dev.pushrpc.client;

import dev.pushrpc.v1.DeliveryCounts;
import dev.pushrpc.v1.DeliveryEvent;

/**
 * Hears what a {@link Following} tells. One thread calls it, in order; a call that takes long slows the server down,
 * and nothing piles up. An exception thrown here ends the following and is the thread's uncaught exception.
 */
public interface FollowListener {
  /** The stream is open: no later event will be missed. Called once, also when the connection breaks and returns. */
  default void onOpen() {}

  /**
   * One event.
   *
   * @param event never told twice to one listener
   */
  void onEvent(DeliveryEvent event);

  /**
   * Everything before this point was told: the cursor to persist.
   *
   * @param cursor for {@link PushClient#followApp} or a request's cursor
   */
  default void onCursor(String cursor) {}

  /**
   * All is told. Nothing follows.
   *
   * @param counts of the named notifications
   */
  default void onEnd(DeliveryCounts counts) {}

  /**
   * The server refused to go on, or did not begin within 20 s, or the client was closed. Nothing follows.
   *
   * @param failure such as {@code CURSOR_EXPIRED}, whose metadata has {@code oldest_cursor}
   */
  void onFailure(PushException failure);
}
