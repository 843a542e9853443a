package dev.pushrpc.scenario;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import dev.pushrpc.client.BulkSender;
import dev.pushrpc.client.Following;
import dev.pushrpc.client.PushClient;
import dev.pushrpc.client.PushException;
import dev.pushrpc.v1.CancelNotificationRequest;
import dev.pushrpc.v1.CancelNotificationResponse;
import dev.pushrpc.v1.DeliveryEvent;
import dev.pushrpc.v1.FieldViolation;
import dev.pushrpc.v1.RegisterDeviceRequest;
import dev.pushrpc.v1.RegisterDeviceResponse;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.SendNotificationResponse;
import dev.pushrpc.v1.StreamDeliveryStatusRequest;
import dev.pushrpc.v1.StreamStart;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** Plays clients/scenarios/scenario.json through the public API: Scenario scenario.json ADDRESS. */
public final class Scenario {
  static final Duration STEP_TIMEOUT = Duration.ofSeconds(60);
  private static final Duration LATE = Duration.ofSeconds(5);
  private static final Duration AT_ONCE = Duration.ofSeconds(4); // less than a server asks callers to wait
  private static final long CLOSE_AFTER_MS = 300;
  private static final String APP = "shop";
  private static final Gson JSON = new GsonBuilder().disableHtmlEscaping().create();

  private final PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  private final BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
  private final Map<String, SendNotificationResponse> sent = new HashMap<>();
  private final AppWatch ofApp = new AppWatch();
  private final String address;
  private final PushClient push;

  private Scenario(String address, PushClient push) {
    this.address = address;
    this.push = push;
  }

  /**
   * Plays and prints one line for each step.
   *
   * @param arguments the scenario's file and the server's address
   * @throws Exception when the file cannot be read
   */
  public static void main(String[] arguments) throws Exception {
    JsonArray steps = JsonParser.parseString(Files.readString(Path.of(arguments[0]))).getAsJsonArray();
    try (PushClient push = PushClient.builder(arguments[1], APP).plaintext().connect()) {
      Scenario scenario = new Scenario(arguments[1], push);
      steps.forEach(step -> scenario.play(step.getAsJsonObject()));
    }
  }

  private void play(JsonObject step) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("step", step.get("name").getAsString());
    try {
      line.put("result", result(step));
    } catch (Exception failure) {
      line.put("failed", failure.toString());
    }
    out.println(JSON.toJson(line));
  }

  private Map<String, ?> result(JsonObject step) throws Exception {
    String kind = step.get("do").getAsString();
    return switch (kind) {
      case "register" -> register(step);
      case "send" -> send(step);
      case "send_error" -> sendError(step);
      case "bulk" -> bulk(step);
      case "follow" -> follow(step);
      case "follow_error" -> followError(step);
      case "replay" -> replay(step);
      case "follow_app" -> followApp();
      case "pause" -> pause(step);
      case "collect" -> ofApp.collected(step.get("finals").getAsInt());
      case "cancel" -> cancel(step);
      case "close" -> close();
      case "deadline" -> deadline(step);
      default -> throw new IllegalArgumentException("unknown kind of step: " + kind);
    };
  }

  private Map<String, ?> register(JsonObject step) throws InvalidProtocolBufferException {
    RegisterDeviceResponse answer =
        push.register(parsed(step.get("request"), RegisterDeviceRequest.newBuilder()).build());
    return Map.of("created", answer.getCreated(), "user_id", answer.getDevice().getUserId());
  }

  private Map<String, ?> send(JsonObject step) throws InvalidProtocolBufferException {
    SendNotificationRequest request = sendRequest(step.get("request"));
    SendNotificationResponse receipt = push.send(request);
    if (step.has("again")) {
      receipt = push.send(request);
    }
    sent.put(step.get("name").getAsString(), receipt);
    List<String> rejected =
        receipt.getRejectedList().stream().map(each -> bare(each.getReason(), "REJECT_REASON_")).toList();
    return Map.of("target_count", receipt.getTargetCount(), "replayed", receipt.getReplayed(), "rejected", rejected);
  }

  private Map<String, ?> sendError(JsonObject step) throws InvalidProtocolBufferException {
    long began = System.nanoTime();
    PushException failure = failure(push, sendRequest(step.get("request")));
    List<String> fields = failure.fieldViolations().stream().map(FieldViolation::getField).toList();
    return Map.of(
        "code", failure.code().name(),
        "reason", failure.reason(),
        "fields", fields,
        "retry_after_s", failure.retryDelay().orElse(Duration.ZERO).toSeconds(),
        "at_once", System.nanoTime() - began < AT_ONCE.toNanos());
  }

  private Map<String, ?> bulk(JsonObject step) throws Exception {
    Map<String, CompletableFuture<SendNotificationResponse>> receipts = new LinkedHashMap<>();
    try (BulkSender bulk = push.bulk()) {
      for (JsonElement each : step.getAsJsonArray("requests")) {
        SendNotificationRequest request = sendRequest(each);
        receipts.put(request.getRequestId(), bulk.add(request));
      }
    }
    int accepted = 0;
    List<List<String>> errors = new ArrayList<>();
    for (var receipt : receipts.entrySet()) {
      try {
        receipt.getValue().get();
        accepted++;
      } catch (ExecutionException failed) {
        errors.add(List.of(receipt.getKey(), ((PushException) failed.getCause()).reason()));
      }
    }
    return Map.of("accepted", accepted, "errors", errors);
  }

  private Map<String, ?> follow(JsonObject step) {
    List<DeliveryEvent> events = new ArrayList<>();
    try (Following following = push.follow(sent.get(step.get("of").getAsString()))) {
      following.forEach(events::add);
      events.sort(
          Comparator.comparing(DeliveryEvent::getToken)
              .thenComparing(event -> event.getState().name())
              .thenComparing(DeliveryEvent::getFinal));
      List<List<?>> states = new ArrayList<>();
      for (DeliveryEvent event : events) {
        states.add(List.of(event.getToken(), bare(event.getState(), "DELIVERY_STATE_"), event.getFinal()));
      }
      return Map.of("states", states, "ended", following.counts().isPresent());
    }
  }

  private Map<String, ?> followError(JsonObject step) {
    String cursor =
        step.has("cursor") ? step.get("cursor").getAsString() : sent.get(step.get("of").getAsString()).getCursor();
    PushException failure = end(push.followApp(cursor));
    boolean tellsOldest = failure.metadata().containsKey("oldest_cursor");
    return Map.of("code", failure.code().name(), "reason", failure.reason(), "tells_oldest", tellsOldest);
  }

  /** What there is of the app, from a cursor where it has one. */
  private Map<String, ?> replay(JsonObject step) {
    String cursor = step.has("of") ? sent.get(step.get("of").getAsString()).getCursor() : "";
    var request =
        StreamDeliveryStatusRequest.newBuilder()
            .setCursor(cursor)
            .setStart(StreamStart.STREAM_START_OLDEST)
            .setUntilCaughtUp(true);
    List<String> tokens = new ArrayList<>();
    try (Following following = push.follow(request.build())) {
      following.forEach(event -> tokens.addAll(event.getFinal() ? List.of(event.getToken()) : List.of()));
      tokens.sort(null);
      return Map.of("tokens", tokens, "ended", following.counts().isPresent());
    }
  }

  private Map<String, ?> close() throws Exception {
    PushClient closing = PushClient.builder(address, APP).plaintext().connect();
    Following following = closing.follow(StreamDeliveryStatusRequest.getDefaultInstance());
    following.awaitOpen(STEP_TIMEOUT);
    CompletableFuture.delayedExecutor(CLOSE_AFTER_MS, TimeUnit.MILLISECONDS).execute(closing::close);
    PushException failure = end(following);
    return Map.of("code", failure.code().name(), "reason", failure.reason());
  }

  private Map<String, ?> followApp() throws Exception {
    push.follow(StreamDeliveryStatusRequest.getDefaultInstance(), ofApp);
    ofApp.awaitOpen();
    return Map.of("following", true);
  }

  private Map<String, ?> pause(JsonObject step) throws Exception {
    out.println(JSON.toJson(Map.of("pause", step.get("why").getAsString())));
    in.readLine();
    return Map.of("resumed", true);
  }

  private Map<String, ?> cancel(JsonObject step) {
    String id = sent.get(step.get("of").getAsString()).getNotificationId();
    CancelNotificationResponse answer =
        push.cancel(CancelNotificationRequest.newBuilder().setNotificationId(id).build());
    return Map.of(
        "cancelled_count", answer.getCancelledCount(),
        "in_flight_count", answer.getInFlightCount(),
        "already_final_count", answer.getAlreadyFinalCount());
  }

  private Map<String, ?> deadline(JsonObject step) {
    Duration timeout = Duration.ofMillis(step.get("timeout_ms").getAsLong());
    long began = System.nanoTime();
    try (PushClient silent =
        PushClient.builder(System.getenv("PUSHRPC_SILENT"), APP).plaintext().timeout(timeout).connect()) {
      PushException failure = failure(silent, SendNotificationRequest.getDefaultInstance());
      boolean tookTooLong = System.nanoTime() - began > timeout.plus(LATE).toNanos();
      return Map.of("code", failure.code().name(), "took_too_long", tookTooLong);
    }
  }

  private static PushException failure(PushClient push, SendNotificationRequest request) {
    try {
      push.send(request);
    } catch (PushException failure) {
      return failure;
    }
    throw new IllegalStateException("it was accepted");
  }

  /** What ends it, at once or later. */
  private static PushException end(Following following) {
    try (following) {
      following.forEach(event -> {});
    } catch (PushException failure) {
      return failure;
    }
    throw new IllegalStateException("it ended well");
  }

  private static SendNotificationRequest sendRequest(JsonElement json) throws InvalidProtocolBufferException {
    return parsed(json, SendNotificationRequest.newBuilder()).build();
  }

  private static <B extends Message.Builder> B parsed(JsonElement json, B builder)
      throws InvalidProtocolBufferException {
    JsonFormat.parser().merge(json.toString(), builder);
    return builder;
  }

  private static String bare(Enum<?> value, String prefix) {
    return value.name().replaceFirst("^" + prefix, "");
  }
}
