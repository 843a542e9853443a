package pushrpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	defaultTimeout = 10 * time.Second
	// A server says something every 15 s. What has been silent for four times that is gone, even where a proxy
	// between us still answers pings.
	defaultSilenceMax = 60 * time.Second
	// A restart of the server is shorter.
	defaultOpeningMax = 20 * time.Second

	// The server allows a ping every 20 s, also without calls.
	keepaliveEvery   = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	connectTimeout   = 10 * time.Second

	// Receipts of 10,000 targets that were all rejected at length pass gRPC's own 4 MiB.
	answerBytesMax = 16 << 20
)

// serviceConfig repeats calls that may be repeated; Send does so itself, with its request_id, and streams reopen.
// CreateBroadcastChannel is left out: a repeat would open another channel.
const serviceConfig = `{"methodConfig": [{
  "name": [
    {"service": "pushrpc.v1.PushService", "method": "RegisterDevice"},
    {"service": "pushrpc.v1.PushService", "method": "UpdateDevice"},
    {"service": "pushrpc.v1.PushService", "method": "UnregisterDevice"},
    {"service": "pushrpc.v1.PushService", "method": "GetDevice"},
    {"service": "pushrpc.v1.PushService", "method": "ListDevices"},
    {"service": "pushrpc.v1.PushService", "method": "GetNotification"},
    {"service": "pushrpc.v1.PushService", "method": "ListNotifications"},
    {"service": "pushrpc.v1.PushService", "method": "ListDeliveries"},
    {"service": "pushrpc.v1.PushService", "method": "PreviewNotification"},
    {"service": "pushrpc.v1.PushService", "method": "CancelNotification"},
    {"service": "pushrpc.v1.PushService", "method": "ReportEngagement"},
    {"service": "pushrpc.v1.PushService", "method": "SubscribeToTopic"},
    {"service": "pushrpc.v1.PushService", "method": "UnsubscribeFromTopic"},
    {"service": "pushrpc.v1.PushService", "method": "ListBroadcastChannels"},
    {"service": "pushrpc.v1.PushService", "method": "GetServerInfo"}
  ],
  "retryPolicy": {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]
  }
}]}`

// Option changes how a [Client] connects or calls.
type Option func(*settings) error

type settings struct {
	plaintext    bool
	tls          *tls.Config
	roots        *x509.CertPool
	certificates []tls.Certificate
	token        func(context.Context) (string, error) // nil sends none
	timeout      time.Duration
	silenceMax   time.Duration
	openingMax   time.Duration
	more         []grpc.DialOption
}

// WithPlaintext connects without TLS: on loopback, or where a mesh encrypts.
func WithPlaintext() Option {
	return func(s *settings) error {
		s.plaintext = true
		return nil
	}
}

// WithTLS connects with a TLS configuration of the caller's own.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) error {
		s.tls = config.Clone()
		return nil
	}
}

// WithRootsFile trusts the certificates in a PEM file, and not the system's.
func WithRootsFile(file string) Option {
	return func(s *settings) error {
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		s.roots = x509.NewCertPool()
		if !s.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM", file)
		}
		return nil
	}
}

// WithCertificateFiles shows a client certificate, from PEM files of it and of its key.
func WithCertificateFiles(certificateFile, keyFile string) Option {
	return func(s *settings) error {
		certificate, err := tls.LoadX509KeyPair(certificateFile, keyFile)
		if err != nil {
			return err
		}
		s.certificates = []tls.Certificate{certificate}
		return nil
	}
}

// WithBearerToken sends "authorization: Bearer token" with every call. With [WithPlaintext] whoever listens reads it.
// An empty token sends none. For a token that changes there is [WithBearerTokenFunc].
func WithBearerToken(token string) Option {
	if token == "" {
		return func(s *settings) error {
			s.token = nil
			return nil
		}
	}
	return WithBearerTokenFunc(func(context.Context) (string, error) { return token, nil })
}

// WithBearerTokenFunc is [WithBearerToken] for a token that changes. token is asked before every call, every repeat and
// every stream, from many goroutines at once and within the time of the call: it should keep a token while that is
// valid. When it fails, so does what asked for it, with code Unauthenticated and reason TOKEN_UNAVAILABLE.
func WithBearerTokenFunc(token func(ctx context.Context) (string, error)) Option {
	return func(s *settings) error {
		if token == nil {
			return errors.New("the function of WithBearerTokenFunc is nil")
		}
		s.token = token
		return nil
	}
}

// WithTimeout is how long a unary call may take whose context has no deadline; 10 s without this option.
func WithTimeout(timeout time.Duration) Option {
	return func(s *settings) error {
		if timeout <= 0 {
			return fmt.Errorf("timeout %v is not above zero", timeout)
		}
		s.timeout = timeout
		return nil
	}
}

// WithDialOptions passes options to gRPC itself, such as interceptors or other keepalive times; they win over ours.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) error {
		s.more = append(s.more, options...)
		return nil
	}
}

func (s *settings) dialOptions() ([]grpc.DialOption, error) {
	secure := s.tls != nil || s.roots != nil || s.certificates != nil
	if s.plaintext && secure {
		return nil, errors.New("WithPlaintext excludes the options of TLS")
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(s.transportCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveEvery, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: pauseMin, Multiplier: 2, Jitter: 0.2, MaxDelay: pauseMax},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax)),
		grpc.WithUserAgent("pushrpc-go"),
	}
	if s.token != nil {
		options = append(options, grpc.WithPerRPCCredentials(bearer{s.token, !s.plaintext}))
	}
	return append(options, s.more...), nil
}

func (s *settings) transportCredentials() credentials.TransportCredentials {
	if s.plaintext {
		return insecure.NewCredentials()
	}
	config := s.tls
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if s.roots != nil {
		config.RootCAs = s.roots
	}
	if s.certificates != nil {
		config.Certificates = s.certificates
	}
	return credentials.NewTLS(config)
}
