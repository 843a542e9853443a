package dev.pushrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Descriptors.MethodDescriptor;
import com.google.protobuf.Message;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.protobuf.util.JsonFormat;
import dev.pushrpc.v1.GetServerInfoRequest;
import dev.pushrpc.v1.PushServiceGrpc;
import dev.pushrpc.v1.SendNotificationRequest;
import dev.pushrpc.v1.ServiceProto;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class CallsTest {
  /** What all clients share. */
  private static final Path SERVICE_CONFIG = Path.of("..", "..", "proto", "service_config.json");

  @Test
  void everyUnaryCallHasAMethodThatFillsInTheApp() throws Exception {
    try (FakeServer server = new FakeServer();
        PushClient push = server.connect()) {
      server.onSend = (request, answer) -> answer.onError(Status.UNIMPLEMENTED.asRuntimeException());
      for (MethodDescriptor call : unaryCalls()) {
        assertEquals(Status.Code.UNIMPLEMENTED, failure(push, call).code());
        FakeServer.Call seen = server.calls.get(server.calls.size() - 1);
        assertEquals(call.getName(), seen.method());
        Message request = seen.request();
        assertEquals("shop", request.getField(request.getDescriptorForType().findFieldByName("app_id")));
      }
    }
  }

  @Test
  void callsThatTheServiceConfigNamesAreMadeFourTimesAndNoOthers() throws Exception {
    Set<String> repeated = methodsWithRetries();
    assertTrue(repeated.contains("RegisterDevice"));
    assertFalse(repeated.contains("SendNotification"));
    Map<String, Integer> tries = new ConcurrentHashMap<>();
    var server =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0))
            .addService(new PushServiceGrpc.PushServiceImplBase() {})
            .intercept(new Unavailable(tries))
            .build()
            .start();
    try (PushClient push = PushClient.builder("127.0.0.1:" + server.getPort(), "shop").plaintext().connect()) {
      Map<String, Integer> expected = new TreeMap<>();
      for (MethodDescriptor call : unaryCalls()) {
        if (!call.getName().equals("SendNotification")) {
          failure(push, call);
          expected.put(call.getName(), repeated.contains(call.getName()) ? 4 : 1);
        }
      }
      assertEquals(expected, new TreeMap<>(tries));
    } finally {
      server.shutdownNow();
    }
  }

  @Test
  void aClosedClientCallsNothing() throws Exception {
    try (FakeServer server = new FakeServer()) {
      PushClient push = server.connect();
      push.close();
      for (MethodDescriptor call : unaryCalls()) {
        PushException failure = failure(push, call);
        assertEquals(Status.Code.CANCELLED, failure.code());
        assertEquals("CLIENT_CLOSED", failure.reason());
      }
      assertTrue(server.calls.isEmpty());
    }
  }

  @Test
  void withoutItsTokenEverythingFailsAtOnce() {
    Supplier<String> broken =
        () -> {
          throw new IllegalStateException("the vault is closed");
        };
    SendNotificationRequest any = SendNotificationRequest.newBuilder().setRequestId("order-1").build();
    try (FakeServer server = new FakeServer();
        PushClient push = PushClient.builder(server.address(), "shop").plaintext().bearerToken(broken).connect();
        BulkSender bulk = push.bulk()) {
      List<PushException> failures =
          List.of(
              assertThrows(PushException.class, push::serverInfo),
              assertThrows(PushException.class, () -> push.send(any)),
              assertThrows(PushException.class, () -> push.followApp("").iterator().hasNext()),
              (PushException) assertThrows(ExecutionException.class, () -> bulk.add(any).get()).getCause());
      for (PushException failure : failures) {
        assertEquals(Status.Code.UNAUTHENTICATED, failure.code());
        assertEquals("TOKEN_UNAVAILABLE", failure.reason());
        assertTrue(failure.getMessage().contains("the vault is closed"), failure.getMessage());
      }
      assertEquals("order-1", failures.get(1).requestId());
      assertEquals("order-1", failures.get(3).requestId());
      assertTrue(server.calls.isEmpty());
    }
  }

  @Test
  void theBareStubIsOnTheSameConnection() {
    try (FakeServer server = new FakeServer();
        PushClient push = server.connect()) {
      assertThrows(
          io.grpc.StatusRuntimeException.class,
          () -> push.stub().getServerInfo(GetServerInfoRequest.getDefaultInstance()));
      assertEquals("GetServerInfo", server.calls.get(0).method());
    }
  }

  private static Set<String> methodsWithRetries() throws IOException {
    Struct.Builder config = Struct.newBuilder();
    JsonFormat.parser().merge(Files.readString(SERVICE_CONFIG), config);
    return structs(config.build(), "methodConfig")
        .filter(each -> each.containsFields("retryPolicy"))
        .flatMap(each -> structs(each, "name"))
        .map(each -> each.getFieldsOrThrow("method").getStringValue())
        .collect(Collectors.toSet());
  }

  private static Stream<Struct> structs(Struct parent, String field) {
    return parent.getFieldsOrThrow(field).getListValue().getValuesList().stream().map(Value::getStructValue);
  }

  private static List<MethodDescriptor> unaryCalls() {
    return ServiceProto.getDescriptor().findServiceByName("PushService").getMethods().stream()
        .filter(call -> !call.isClientStreaming() && !call.isServerStreaming())
        .toList();
  }

  /** Calls the client's method that takes this call's request, and returns what it threw. */
  private static PushException failure(PushClient push, MethodDescriptor call) throws Exception {
    String type = call.getInputType().getName();
    if (type.equals("GetServerInfoRequest")) {
      return assertThrows(PushException.class, push::serverInfo);
    }
    Method method =
        Arrays.stream(PushClient.class.getMethods())
            .filter(each -> each.getParameterCount() == 1)
            .filter(each -> each.getParameterTypes()[0].getSimpleName().equals(type))
            .findFirst()
            .orElseThrow(() -> new AssertionError("no method of PushClient takes a " + type));
    Object empty = method.getParameterTypes()[0].getMethod("getDefaultInstance").invoke(null);
    return (PushException)
        assertThrows(InvocationTargetException.class, () -> method.invoke(push, empty)).getCause();
  }

  private record Unavailable(Map<String, Integer> tries) implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      tries.merge(call.getMethodDescriptor().getBareMethodName(), 1, Integer::sum);
      Metadata trailers = new Metadata();
      trailers.put(Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER), "1");
      call.close(Status.UNAVAILABLE, trailers);
      return new ServerCall.Listener<>() {};
    }
  }
}
