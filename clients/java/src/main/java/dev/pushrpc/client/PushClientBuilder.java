package dev.pushrpc.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors.CheckedForwardingClientCall;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.StatusException;
import io.grpc.TlsChannelCredentials;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * How a {@link PushClient} connects; made by {@link PushClient#builder}.
 *
 * <p>Without any option: TLS with the system's roots, no token, 10 s for a unary call. The connection is pinged every
 * 30 s, also without calls, and given up when a ping is not answered within 10 s.
 */
public final class PushClientBuilder {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final Duration PING_EVERY = Duration.ofSeconds(30);
  private static final Duration PING_TIMEOUT = Duration.ofSeconds(10);

  /** A receipt of 10,000 rejected targets is larger than gRPC's own limit of 4 MiB. */
  private static final int ANSWER_BYTES_MAX = 16 * 1024 * 1024;

  private static final String SERVICE = "pushrpc.v1.PushService";

  /**
   * Calls that the channel repeats: those of the contract's service config. SendNotification is not among them, because
   * {@link PushClient#send} has more patience.
   */
  private static final List<String> IDEMPOTENT =
      List.of(
          "RegisterDevice",
          "UpdateDevice",
          "UnregisterDevice",
          "GetDevice",
          "ListDevices",
          "GetNotification",
          "ListNotifications",
          "ListDeliveries",
          "PreviewNotification",
          "CancelNotification",
          "ReportEngagement",
          "SubscribeToTopic",
          "UnsubscribeFromTopic",
          "ListBroadcastChannels",
          "GetServerInfo");

  private final String address;
  private final String appId;
  private final TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
  private boolean hasTlsOptions;
  private boolean plaintext;
  private Supplier<String> bearerToken;
  private Duration timeout = Duration.ofSeconds(10);
  private Duration patience = Duration.ofSeconds(60);
  private Duration openingMax = Duration.ofSeconds(20);

  PushClientBuilder(String address, String appId) {
    this.address = address;
    this.appId = appId;
  }

  /**
   * No TLS: for loopback, and for a mesh whose proxies encrypt.
   *
   * @return this
   */
  public PushClientBuilder plaintext() {
    plaintext = true;
    return this;
  }

  /**
   * TLS that trusts these authorities and no others.
   *
   * @param authorities a PEM file of certificates
   * @return this
   * @throws IOException when the file cannot be read
   */
  public PushClientBuilder trust(Path authorities) throws IOException {
    hasTlsOptions = true;
    try (var pem = Files.newInputStream(authorities)) {
      tls.trustManager(pem);
    }
    return this;
  }

  /**
   * TLS in which this side shows a certificate too.
   *
   * @param chain a PEM file: the certificate first, then its issuers
   * @param key a PEM file with the PKCS #8 private key
   * @return this
   * @throws IOException when a file cannot be read
   */
  public PushClientBuilder clientCertificate(Path chain, Path key) throws IOException {
    hasTlsOptions = true;
    try (var certificates = Files.newInputStream(chain);
        var privateKey = Files.newInputStream(key)) {
      tls.keyManager(certificates, privateKey);
    }
    return this;
  }

  /**
   * Sends {@code authorization: Bearer TOKEN} with every call.
   *
   * @param token the token
   * @return this
   */
  public PushClientBuilder bearerToken(String token) {
    return bearerToken(() -> token);
  }

  /**
   * Sends {@code authorization: Bearer TOKEN} with every call, for tokens that change.
   *
   * @param token asked before every call and every opening of a stream; it must not wait for long, and what it throws
   *     fails that call with code {@code UNAUTHENTICATED} and reason {@code TOKEN_UNAVAILABLE}
   * @return this
   */
  public PushClientBuilder bearerToken(Supplier<String> token) {
    bearerToken = token;
    return this;
  }

  /**
   * How long a unary call may take. {@link PushClient#send} adds the request's {@code wait}.
   *
   * @param timeout 10 s unless set
   * @return this
   */
  public PushClientBuilder timeout(Duration timeout) {
    this.timeout = timeout;
    return this;
  }

  /**
   * Makes the client, without waiting: the connection opens with the first call, and again whenever it breaks.
   *
   * @return a client to be closed in the end
   * @throws IllegalStateException when both plaintext and an option of TLS were asked for
   */
  public PushClient connect() {
    if (plaintext && hasTlsOptions) {
      throw new IllegalStateException("plaintext and options of TLS exclude each other");
    }
    var channel =
        Grpc.newChannelBuilder(address, credentials())
            .keepAliveTime(PING_EVERY.toSeconds(), TimeUnit.SECONDS)
            .keepAliveTimeout(PING_TIMEOUT.toSeconds(), TimeUnit.SECONDS)
            .keepAliveWithoutCalls(true)
            .maxInboundMessageSize(ANSWER_BYTES_MAX)
            .disableServiceConfigLookUp()
            .defaultServiceConfig(serviceConfig());
    if (bearerToken != null) {
      channel.intercept(new Bearer(bearerToken));
    }
    return new PushClient(new Connection(channel.build(), appId, patience, openingMax), timeout);
  }

  /** For tests: how long a stream may be silent. */
  PushClientBuilder patience(Duration patience) {
    this.patience = patience;
    return this;
  }

  /** For tests: how long a following may wait for its first message. */
  PushClientBuilder openingMax(Duration openingMax) {
    this.openingMax = openingMax;
    return this;
  }

  private ChannelCredentials credentials() {
    return plaintext ? InsecureChannelCredentials.create() : tls.build();
  }

  /** gRPC's service config, in the JSON types that grpc-java takes. */
  private static Map<String, ?> serviceConfig() {
    Map<String, ?> retries =
        Map.of(
            "maxAttempts", 4.0,
            "initialBackoff", "0.1s",
            "maxBackoff", "2s",
            "backoffMultiplier", 2.0,
            "retryableStatusCodes", List.of("UNAVAILABLE"));
    List<Map<String, String>> names =
        IDEMPOTENT.stream().map(method -> Map.of("service", SERVICE, "method", method)).toList();
    return Map.of("methodConfig", List.of(Map.of("name", names, "retryPolicy", retries)));
  }

  /** Adds the token to each call's headers. */
  private record Bearer(Supplier<String> token) implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return new CheckedForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        protected void checkedStart(Listener<A> listener, Metadata headers) throws StatusException {
          headers.put(AUTHORIZATION, "Bearer " + asked());
          delegate().start(listener, headers);
        }
      };
    }

    private String asked() throws StatusException {
      try {
        return token.get();
      } catch (Exception thrown) { // other languages' suppliers throw checked ones too
        throw PushException.tokenless(thrown);
      }
    }
  }
}
