package dev.pushrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.pushrpc.v1.GetServerInfoRequest;
import dev.pushrpc.v1.GetServerInfoResponse;
import dev.pushrpc.v1.PushServiceGrpc.PushServiceImplBase;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.TlsServerCredentials;
import io.grpc.TlsServerCredentials.ClientAuth;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class TlsTest {
  private static final String PASSWORD = "changeit";

  @TempDir static Path directory;
  private static final List<String> tokens = new CopyOnWriteArrayList<>();
  private static Server server;

  @BeforeAll
  static void start() throws Exception {
    Path store = directory.resolve("keys.p12");
    keytool(store, "ca", "-ext", "bc:c");
    keytool(store, "server", "-signer", "ca", "-ext", "san=ip:127.0.0.1");
    keytool(store, "client", "-signer", "ca");
    KeyStore keys = KeyStore.getInstance(store.toFile(), PASSWORD.toCharArray());
    for (String alias : List.of("ca", "server", "client")) {
      Files.writeString(pem(alias), encoded("CERTIFICATE", keys.getCertificateChain(alias)));
      byte[] key = keys.getKey(alias, PASSWORD.toCharArray()).getEncoded();
      Files.writeString(key(alias), armoured("PRIVATE KEY", key));
    }
    var credentials =
        TlsServerCredentials.newBuilder()
            .keyManager(pem("server").toFile(), key("server").toFile())
            .trustManager(pem("ca").toFile())
            .clientAuth(ClientAuth.REQUIRE)
            .build();
    server =
        NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0), credentials)
            .addService(new Info())
            .intercept(new Doorman())
            .build()
            .start();
  }

  @AfterAll
  static void stop() {
    server.shutdownNow();
  }

  @Test
  void trustsItsOwnAuthorityAndShowsACertificateAndAToken() throws Exception {
    var secrets = List.of("one", "two").iterator();
    PushClientBuilder own = builder().trust(pem("ca")).clientCertificate(pem("client"), key("client"));
    try (PushClient push = own.bearerToken(secrets::next).connect()) {
      assertEquals("9.9", push.serverInfo().getServerVersion());
      assertEquals("9.9", push.serverInfo().getServerVersion());
    }
    assertEquals(List.of("Bearer one", "Bearer two"), tokens);
  }

  @Test
  void refusesAServerOfAnUnknownAuthority() throws Exception {
    try (PushClient push = builder().clientCertificate(pem("client"), key("client")).connect()) {
      assertEquals(Status.Code.UNAVAILABLE, assertThrows(PushException.class, push::serverInfo).code());
    }
  }

  @Test
  void isRefusedWithoutACertificate() throws Exception {
    try (PushClient push = builder().trust(pem("ca")).connect()) {
      assertEquals(Status.Code.UNAVAILABLE, assertThrows(PushException.class, push::serverInfo).code());
    }
  }

  @Test
  void plaintextExcludesTls() throws Exception {
    PushClientBuilder confused = builder().trust(pem("ca")).plaintext();
    assertThrows(IllegalStateException.class, confused::connect);
  }

  private static PushClientBuilder builder() {
    return PushClient.builder("127.0.0.1:" + server.getPort(), "shop").timeout(Duration.ofSeconds(20));
  }

  private static void keytool(Path store, String alias, String... options) throws Exception {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "keytool").toString());
    command.addAll(List.of("-genkeypair", "-alias", alias, "-dname", "CN=" + alias, "-keyalg", "EC"));
    command.addAll(List.of("-keystore", store.toString(), "-storetype", "PKCS12", "-storepass", PASSWORD));
    command.addAll(List.of(options));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes());
    assertEquals(0, process.waitFor(), said);
  }

  private static Path pem(String alias) {
    return directory.resolve(alias + ".pem");
  }

  private static Path key(String alias) {
    return directory.resolve(alias + ".key");
  }

  private static String encoded(String kind, Certificate[] chain) throws Exception {
    StringBuilder pem = new StringBuilder();
    for (Certificate each : chain) {
      pem.append(armoured(kind, each.getEncoded()));
    }
    return pem.toString();
  }

  private static String armoured(String kind, byte[] der) {
    String body = Base64.getMimeEncoder().encodeToString(der);
    return "-----BEGIN " + kind + "-----\n" + body + "\n-----END " + kind + "-----\n";
  }

  private static final class Info extends PushServiceImplBase {
    @Override
    public void getServerInfo(GetServerInfoRequest request, StreamObserver<GetServerInfoResponse> answer) {
      answer.onNext(GetServerInfoResponse.newBuilder().setServerVersion("9.9").build());
      answer.onCompleted();
    }
  }

  private static final class Doorman implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      tokens.add(headers.get(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)));
      return next.startCall(call, headers);
    }
  }
}
