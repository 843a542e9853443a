package dev.pushrpc.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.pushrpc.v1.FieldViolation;
import dev.pushrpc.v1.SendFailure;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;

/**
 * Why a call, a stream or one send of a bulk stream failed.
 *
 * <p>Programs decide by {@link #code()} and {@link #reason()}, which never change their meaning; {@link #getMessage()}
 * is for people and says what to do. The cause, if there is one, is gRPC's own exception.
 */
public final class PushException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** This client's own, in what is told by way of gRPC. */
  private static final String OWN_DOMAIN = "pushrpc.client";

  /** Of reasons that are the contract's or this client's; those of proxies mean something else. */
  private static final Set<String> DOMAINS = Set.of("pushrpc.v1", OWN_DOMAIN);

  /** gRPC's code. */
  private final Status.Code code;

  /** The contract's reason. */
  private final String reason;

  /** What belongs to the reason. */
  @SuppressWarnings("serial") // an immutable map of strings, which is serializable
  private final Map<String, String> metadata;

  /** Every wrong field. */
  @SuppressWarnings("serial") // an immutable list of messages, which is serializable
  private final List<FieldViolation> fieldViolations;

  /** When to come back, or null. */
  private final Duration retryDelay;

  /** The send's own, or empty. */
  private final String requestId;

  private PushException(Status.Code code, String detail, Details details, Throwable cause) {
    super(sentence(code, details.reason, detail), cause);
    this.code = code;
    this.requestId = "";
    this.reason = details.reason;
    this.metadata = details.metadata;
    this.fieldViolations = details.fieldViolations;
    this.retryDelay = details.retryDelay;
  }

  private PushException(PushException told, String requestId) {
    super(told.getMessage(), told.getCause());
    this.code = told.code;
    this.reason = told.reason;
    this.metadata = told.metadata;
    this.fieldViolations = told.fieldViolations;
    this.retryDelay = told.retryDelay;
    this.requestId = requestId;
  }

  /** What was thrown by a stub of this package's contract, in this client's words. */
  static PushException of(StatusRuntimeException thrown) {
    return of(thrown.getStatus(), thrown.getTrailers(), thrown);
  }

  static PushException of(Status status, Metadata trailers) {
    return of(status, trailers, status.getCause());
  }

  static PushException of(SendFailure failure) {
    Duration retryDelay = failure.hasRetryAfter() ? Durations.of(failure.getRetryAfter()) : null;
    List<FieldViolation> violations = List.copyOf(failure.getFieldViolationsList());
    Details details = new Details(failure.getReason(), Map.of(), violations, retryDelay);
    return new PushException(Status.fromCodeValue(failure.getCode()).getCode(), failure.getDetail(), details, null);
  }

  /** The client, or its bulk sender, was closed. */
  static PushException closed() {
    return local(Status.Code.CANCELLED, "CLIENT_CLOSED", "this was closed; make another");
  }

  /** What a call fails with when the caller's own token supplier threw. */
  static StatusException tokenless(Exception thrown) {
    ErrorInfo info = ErrorInfo.newBuilder().setDomain(OWN_DOMAIN).setReason("TOKEN_UNAVAILABLE").build();
    var status = com.google.rpc.Status.newBuilder().setCode(Status.Code.UNAUTHENTICATED.value());
    status.setMessage("the supplier of bearer tokens threw").addDetails(Any.pack(info));
    return StatusProto.toStatusException(status.build(), new Metadata(), thrown);
  }

  /** A failure that this client found by itself. */
  static PushException local(Status.Code code, String reason, String detail) {
    return new PushException(code, detail, new Details(reason, Map.of(), List.of(), null), null);
  }

  /** No server would read it. */
  static PushException tooLong(int bytes, int limit) {
    String detail = "the request has " + bytes + " bytes, the limit is " + limit + "; split it";
    return local(Status.Code.INVALID_ARGUMENT, "FIELD_TOO_LONG", detail);
  }

  /** The waiting thread was interrupted; its flag is set again. */
  static PushException interrupted() {
    Thread.currentThread().interrupt();
    return local(Status.Code.CANCELLED, "", "the waiting thread was interrupted");
  }

  private static PushException of(Status status, Metadata trailers, Throwable cause) {
    String detail = status.getDescription() == null ? "" : status.getDescription();
    if (status.getCause() != null && status.getCause().getMessage() != null) {
      detail += " (" + status.getCause().getMessage() + ")"; // "io exception" alone helps nobody
    }
    com.google.rpc.Status rich =
        StatusProto.fromStatusAndTrailers(status, trailers == null ? new Metadata() : trailers);
    return new PushException(status.getCode(), detail, Details.of(rich.getDetailsList()), cause);
  }

  /**
   * The status code of gRPC.
   *
   * @return never {@code OK}
   */
  public Status.Code code() {
    return code;
  }

  /**
   * The contract's reason, such as {@code TARGET_EMPTY} or {@code CURSOR_EXPIRED}; or this client's own: {@code
   * CLIENT_CLOSED} (code {@code CANCELLED}) after a close, {@code TOKEN_UNAVAILABLE} (code {@code UNAUTHENTICATED})
   * when the supplier of bearer tokens threw.
   *
   * @return empty when the failure is the network's, a proxy's or a deadline's, and not the server's; also where a
   *     proxy gives a reason of its own
   */
  public String reason() {
    return reason;
  }

  /**
   * What belongs to the reason: {@code field}, {@code limit}, {@code position}, {@code oldest_cursor} and others.
   *
   * @return unmodifiable
   */
  public Map<String, String> metadata() {
    return metadata;
  }

  /**
   * Every wrong field of the request.
   *
   * @return in the request's order, unmodifiable
   */
  public List<FieldViolation> fieldViolations() {
    return fieldViolations;
  }

  /**
   * When the same call may work.
   *
   * @return empty when the server told none
   */
  public Optional<Duration> retryDelay() {
    return Optional.ofNullable(retryDelay);
  }

  /**
   * Of a send: what it can be repeated by without being pushed twice, for 72 hours, also by another process.
   *
   * @return the caller's own or the one that was made; empty when no send failed
   */
  public String requestId() {
    return requestId;
  }

  /** The same failure, of one send. */
  PushException ofSend(String requestId) {
    return new PushException(this, requestId);
  }

  /**
   * Whether nobody answered, or the answer was lost. A transport's own failures come without a reason and, from proxies
   * and half-closed connections, under several codes.
   */
  boolean isUnanswered() {
    return switch (code) {
      case UNAVAILABLE -> true;
      case INTERNAL, UNKNOWN, CANCELLED -> reason.isEmpty();
      default -> false;
    };
  }

  /** Whether the same request will be refused again, until somebody changes something. */
  boolean isFinal() {
    return switch (code) {
      case INVALID_ARGUMENT, NOT_FOUND, OUT_OF_RANGE, ALREADY_EXISTS -> true;
      case FAILED_PRECONDITION, UNIMPLEMENTED, UNAUTHENTICATED, PERMISSION_DENIED -> true;
      default -> false;
    };
  }

  private static String sentence(Status.Code code, String reason, String detail) {
    String words = reason.isEmpty() ? code.name() : code + " " + reason;
    return detail.isEmpty() ? words : words + ": " + detail;
  }

  /** The parts of google/rpc/error_details.proto that the contract uses. */
  private record Details(
      String reason, Map<String, String> metadata, List<FieldViolation> fieldViolations, Duration retryDelay) {

    static Details of(List<Any> packed) {
      ErrorInfo info =
          find(packed, ErrorInfo.class, each -> DOMAINS.contains(each.getDomain()))
              .orElse(ErrorInfo.getDefaultInstance());
      List<FieldViolation> violations =
          find(packed, BadRequest.class, each -> true).stream()
              .flatMap(bad -> bad.getFieldViolationsList().stream())
              .map(Details::violation)
              .toList();
      Duration retryDelay =
          find(packed, RetryInfo.class, each -> true)
              .map(retry -> Durations.of(retry.getRetryDelay()))
              .orElse(null);
      return new Details(info.getReason(), Map.copyOf(info.getMetadataMap()), violations, retryDelay);
    }

    private static FieldViolation violation(BadRequest.FieldViolation told) {
      return FieldViolation.newBuilder().setField(told.getField()).setDescription(told.getDescription()).build();
    }

    private static <T extends com.google.protobuf.Message> Optional<T> find(
        List<Any> packed, Class<T> type, Predicate<T> wanted) {
      return packed.stream()
          .filter(each -> each.is(type))
          .flatMap(each -> unpacked(each, type).stream())
          .filter(wanted)
          .findFirst();
    }

    private static <T extends com.google.protobuf.Message> Optional<T> unpacked(Any packed, Class<T> type) {
      try {
        return Optional.of(packed.unpack(type));
      } catch (InvalidProtocolBufferException e) {
        return Optional.empty(); // a detail that cannot be read must not hide the failure
      }
    }
  }
}
