package dev.pushrpc.client;

import com.google.protobuf.CodedOutputStream;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.SendNotificationResponse;
import dev.pushrpc.v1.SendNotificationsRequest;
import dev.pushrpc.v1.SendReceipt;
import dev.pushrpc.v1.Target;
import dev.pushrpc.v1.TokenTarget;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/** The sends of one bulk message, within the contract's limits, and who waits for them. */
final class BulkGroup {
  static final int SENDS_MAX = 500;
  static final int TARGETS_MAX = 10_000;

  /** The server reads 4 MiB; app_id and sequence, at most 80 bytes, come on top of the sends. */
  static final int BYTES_MAX = 4 * 1024 * 1024 - 1024;

  /** Whether it shall go as soon as it may, full or not. */
  boolean isDue;

  private final long sequence;
  private final List<SendNotificationRequest> sends = new ArrayList<>();
  private final List<CompletableFuture<SendNotificationResponse>> receipts = new ArrayList<>();
  private int targets;
  private int bytes;

  BulkGroup(long sequence) {
    this.sequence = sequence;
  }

  /** Why a send fits into no message at all. */
  static Optional<PushException> misfit(SendNotificationRequest send) {
    PushException failure = null;
    if (targets(send) > TARGETS_MAX) {
      String detail = "target names more than " + TARGETS_MAX + " targets";
      failure = PushException.local(Status.Code.INVALID_ARGUMENT, "TARGET_TOO_LARGE", detail);
    } else if (bytes(send) > BYTES_MAX) {
      failure = PushException.tooLong(bytes(send), BYTES_MAX);
    }
    return Optional.ofNullable(failure).map(each -> each.ofSend(send.getRequestId()));
  }

  long sequence() {
    return sequence;
  }

  int size() {
    return sends.size();
  }

  boolean isFull() {
    return sends.size() >= SENDS_MAX || targets >= TARGETS_MAX;
  }

  boolean takes(SendNotificationRequest send) {
    return sends.size() < SENDS_MAX && targets + targets(send) <= TARGETS_MAX && bytes + bytes(send) <= BYTES_MAX;
  }

  CompletableFuture<SendNotificationResponse> add(SendNotificationRequest send) {
    sends.add(send);
    targets += targets(send);
    bytes += bytes(send);
    CompletableFuture<SendNotificationResponse> receipt = new CompletableFuture<>();
    receipts.add(receipt);
    return receipt;
  }

  SendNotificationsRequest message(String appId) {
    return SendNotificationsRequest.newBuilder().setAppId(appId).setSequence(sequence).addAllSends(sends).build();
  }

  /** Tells each its own, and has whatever follows a receipt run here. */
  void settle(List<SendReceipt> told) {
    for (int i = 0; i < receipts.size(); i++) {
      if (i >= told.size()) {
        fail(i, PushException.local(Status.Code.INTERNAL, "", "no receipt came"));
      } else if (told.get(i).hasError()) {
        fail(i, PushException.of(told.get(i).getError()));
      } else {
        receipts.get(i).complete(told.get(i).getAccepted());
      }
    }
  }

  void fail(PushException failure) {
    for (int i = 0; i < receipts.size(); i++) {
      fail(i, failure);
    }
  }

  private void fail(int position, PushException failure) {
    receipts.get(position).completeExceptionally(failure.ofSend(sends.get(position).getRequestId()));
  }

  /** As the server counts them. */
  private static int targets(SendNotificationRequest send) {
    Target target = send.getTarget();
    int count = target.getDeviceIdsCount() + target.getUserIdsCount() + target.getProviderAudiencesCount();
    for (TokenTarget each : target.getTokensList()) {
      count += each.getTokensCount() + each.getSubscriptionsCount();
    }
    return count;
  }

  private static int bytes(SendNotificationRequest send) {
    return CodedOutputStream.computeMessageSize(SendNotificationsRequest.SENDS_FIELD_NUMBER, send);
  }
}
