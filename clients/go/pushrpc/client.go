// Package pushrpc sends push notifications through a pushrpc server and follows what becomes of them.
//
// A [Client] speaks for one app of one server. [Client.Send] is safe to repeat, [Client.Follow] survives restarts
// of the server without gap or repeat, and [Client.Bulk] hands over many sends with back-pressure. Requests and
// answers are the contract's own messages, package pushrpcv1; errors are [*Error].
package pushrpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// Client calls one server in the name of one app. It is safe for concurrent use; a program needs one.
type Client struct {
	appID      string
	timeout    time.Duration
	silenceMax time.Duration
	openingMax time.Duration
	connection *grpc.ClientConn
	stub       pushrpcv1.PushServiceClient
	closing    sync.Once
	closed     chan struct{}
}

// NewClient makes a client of the server at address, such as "push.example.com:443", for the app appID.
//
// It connects with TLS and the system's roots unless options say otherwise, and only when first used: a server that
// is away is an error of the calls. The error of NewClient is a mistake in its arguments.
func NewClient(address, appID string, options ...Option) (*Client, error) {
	if appID == "" {
		return nil, errors.New("pushrpc: appID is empty; name an app of the server")
	}
	chosen := settings{timeout: defaultTimeout, silenceMax: defaultSilenceMax, openingMax: defaultOpeningMax}
	for _, option := range options {
		if err := option(&chosen); err != nil {
			return nil, fmt.Errorf("pushrpc: %w", err)
		}
	}
	dialOptions, err := chosen.dialOptions()
	if err != nil {
		return nil, fmt.Errorf("pushrpc: %w", err)
	}
	connection, err := grpc.NewClient(address, dialOptions...)
	if err != nil {
		return nil, fmt.Errorf("pushrpc: %w", err)
	}
	return &Client{
		appID:      appID,
		timeout:    chosen.timeout,
		silenceMax: chosen.silenceMax,
		openingMax: chosen.openingMax,
		connection: connection,
		stub:       pushrpcv1.NewPushServiceClient(connection),
		closed:     make(chan struct{}),
	}, nil
}

// Close ends the connection. Calls, followers and bulks that are still open, and all that come later, fail with code
// Canceled and reason CLIENT_CLOSED. A second Close does nothing.
func (c *Client) Close() error {
	var err error
	c.closing.Do(func() {
		close(c.closed) // first: what the end of the connection breaks finds out why
		err = c.connection.Close()
	})
	return err
}

func (c *Client) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// Stub is the generated stub on the client's connection, for what this package does not offer. Its calls fill in
// nothing, have no deadline of their own, and end with plain gRPC errors, which [AsError] reads.
func (c *Client) Stub() pushrpcv1.PushServiceClient {
	return c.stub
}

// withDeadline gives a call the client's timeout, plus what it was asked to wait, unless ctx has a deadline.
func (c *Client) withDeadline(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout+wait)
}

// named is any request: each names its app.
type named interface {
	proto.Message
	GetAppId() string
}

// withAppID is the request with the app filled in, where the caller left that out.
func withAppID[Request named](request Request, appID string) Request {
	if request.GetAppId() != "" {
		return request
	}
	copied := shallow(request)
	message := copied.ProtoReflect()
	message.Set(message.Descriptor().Fields().ByName("app_id"), protoreflect.ValueOfString(appID))
	return copied
}

// shallow is a copy that shares everything below its top. Requests are never changed in place, because callers use
// theirs again.
func shallow[Message proto.Message](original Message) Message {
	message := original.ProtoReflect()
	copied := message.New()
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		copied.Set(field, value)
		return true
	})
	copied.SetUnknown(message.GetUnknown())
	return copied.Interface().(Message)
}

// newRequestID is a random UUID (RFC 9562, version 4).
func newRequestID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
