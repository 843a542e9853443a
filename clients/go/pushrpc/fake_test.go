package pushrpc_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

const patience = 20 * time.Second // no test needs that long

type (
	statusStream = grpc.ServerStreamingServer[pushrpcv1.StreamDeliveryStatusResponse]
	bulkStream   = grpc.BidiStreamingServer[pushrpcv1.SendNotificationsRequest, pushrpcv1.SendNotificationsResponse]
)

// fake is a server whose answers a test writes.
type fake struct {
	pushrpcv1.UnimplementedPushServiceServer
	send   func(context.Context, *pushrpcv1.SendNotificationRequest) (*pushrpcv1.SendNotificationResponse, error)
	status func(*pushrpcv1.StreamDeliveryStatusRequest, statusStream) error
	bulk   func(bulkStream) error
}

func (f *fake) SendNotification(
	ctx context.Context, request *pushrpcv1.SendNotificationRequest,
) (*pushrpcv1.SendNotificationResponse, error) {
	return f.send(ctx, request)
}

func (f *fake) StreamDeliveryStatus(request *pushrpcv1.StreamDeliveryStatusRequest, stream statusStream) error {
	return f.status(request, stream)
}

func (f *fake) SendNotifications(stream bulkStream) error {
	return f.bulk(stream)
}

// serve runs a server until the test ends; address ":0" is a free port.
func serve(t testing.TB, address string, service pushrpcv1.PushServiceServer, options ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	pushrpcv1.RegisterPushServiceServer(server, service)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return server, listener.Addr().String()
}

func connect(t testing.TB, address string, options ...pushrpc.Option) *pushrpc.Client {
	t.Helper()
	client, err := pushrpc.NewClient(address, "shop", append([]pushrpc.Option{pushrpc.WithPlaintext()}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// to is a client of a server that answers as service does.
func to(t testing.TB, service pushrpcv1.PushServiceServer, options ...pushrpc.Option) *pushrpc.Client {
	t.Helper()
	_, address := serve(t, "", service)
	return connect(t, address, options...)
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// refusal is an error as a server words it.
func refusal(code codes.Code, reason string, retry time.Duration) error {
	return refusalOf("pushrpc.v1", code, reason, retry)
}

func refusalOf(domain string, code codes.Code, reason string, retry time.Duration) error {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: domain}}
	if retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	told, err := status.New(code, "refused").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return told.Err()
}

// failed is the client's error of a code, or the end of the test.
func failed(t testing.TB, err error, code codes.Code) *pushrpc.Error {
	t.Helper()
	var failure *pushrpc.Error
	if !errors.As(err, &failure) || failure.Code != code {
		t.Fatalf("got %v, want an error of code %v", err, code)
	}
	return failure
}

func must[Value any](t testing.TB) func(Value, error) Value {
	return func(value Value, err error) Value {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
