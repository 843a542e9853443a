package pushrpc_test

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

type (
	sendRequest  = pushrpcv1.SendNotificationRequest
	sendResponse = pushrpcv1.SendNotificationResponse
)

// accepting answers the first sends with errors and accepts those after, and remembers their keys.
type accepting struct {
	mu     sync.Mutex
	errors []error
	keys   []string
	times  []time.Time
}

func (a *accepting) send(_ context.Context, request *sendRequest) (*sendResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = append(a.keys, request.RequestId)
	a.times = append(a.times, time.Now())
	if len(a.errors) > 0 {
		err := a.errors[0]
		a.errors = a.errors[1:]
		return nil, err
	}
	return &sendResponse{NotificationId: "n-1", TargetCount: 1}, nil
}

func order() *sendRequest {
	return &sendRequest{
		Target:  &pushrpcv1.Target{UserIds: []string{"ann"}},
		Message: &pushrpcv1.NotificationContent{Title: "Order shipped"},
	}
}

func TestEverySendHasAKeyOfItsOwn(t *testing.T) {
	server := &accepting{}
	client := to(t, &fake{send: server.send})
	request := order()
	for range 2 {
		must[*sendResponse](t)(client.Send(within(t), request))
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if !uuid.MatchString(server.keys[0]) || !uuid.MatchString(server.keys[1]) || server.keys[0] == server.keys[1] {
		t.Errorf("keys were %v", server.keys)
	}
	if !proto.Equal(request, order()) {
		t.Errorf("the request became %v", request)
	}
	request.RequestId = "order-1234"
	must[*sendResponse](t)(client.Send(within(t), request))
	if server.keys[2] != "order-1234" {
		t.Errorf("keys were %v", server.keys)
	}
}

func TestASendIsRepeatedUnderItsKey(t *testing.T) {
	away := status.Error(codes.Unavailable, "away")
	server := &accepting{errors: []error{away, away, away, away}} // more than gRPC itself would try
	receipt := must[*sendResponse](t)(to(t, &fake{send: server.send}).Send(within(t), order()))
	if receipt.NotificationId != "n-1" || len(server.keys) != 5 {
		t.Fatalf("%v after %v", receipt, server.keys)
	}
	for _, key := range server.keys {
		if key != server.keys[0] {
			t.Errorf("keys were %v", server.keys)
		}
	}
}

func TestALostAnswerIsAskedForAgain(t *testing.T) {
	server := &accepting{}
	accepted := make(chan struct{})
	first, address := serve(t, "", &fake{send: func(ctx context.Context, request *sendRequest) (*sendResponse, error) {
		defer close(accepted)
		return server.send(ctx, request)
	}}, grpc.UnaryInterceptor(lose))
	client := connect(t, address)
	go func() {
		<-accepted
		first.Stop() // before it could say so
		serve(t, address, &fake{send: server.send})
	}()
	must[*sendResponse](t)(client.Send(within(t), order()))
	if len(server.keys) != 2 || server.keys[0] != server.keys[1] {
		t.Errorf("keys were %v", server.keys)
	}
}

// lose keeps answers back until the connection is gone.
func lose(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	defer func() { <-ctx.Done() }()
	return handler(ctx, request)
}

func TestARepeatComesWhenTheServerAsksForIt(t *testing.T) {
	const asked = 400 * time.Millisecond
	server := &accepting{errors: []error{refusal(codes.Unavailable, "STARTING", asked)}}
	must[*sendResponse](t)(to(t, &fake{send: server.send}).Send(within(t), order()))
	if waited := server.times[1].Sub(server.times[0]); waited < asked {
		t.Errorf("came back after %v", waited)
	}
}

func TestASendThatCannotComeBackInTimeFailsAtOnce(t *testing.T) {
	server := &accepting{errors: []error{refusal(codes.Unavailable, "DRAINING", time.Minute)}}
	client := to(t, &fake{send: server.send})
	began := time.Now()
	_, err := client.Send(within(t), order())
	failure := failed(t, err, codes.Unavailable)
	if failure.Reason != "DRAINING" || failure.RetryDelay != time.Minute || failure.RequestID != server.keys[0] {
		t.Errorf("%+v", failure)
	}
	if waited := time.Since(began); waited > patience/2 {
		t.Errorf("failed after %v", waited)
	}
}

func TestAnAnswerThatGotLostOnTheWayIsAskedForAgain(t *testing.T) {
	for _, lost := range []codes.Code{codes.Unknown, codes.Internal, codes.Canceled} {
		t.Run(lost.String(), func(t *testing.T) {
			server := &accepting{errors: []error{status.Error(lost, "stream reset")}}
			must[*sendResponse](t)(to(t, &fake{send: server.send}).Send(within(t), order()))
			if len(server.keys) != 2 || server.keys[0] != server.keys[1] {
				t.Errorf("keys were %v", server.keys)
			}
		})
	}
}

func TestAProxysOwnReasonHidesNoLostAnswer(t *testing.T) {
	server := &accepting{errors: []error{refusalOf("proxy.example", codes.Unknown, "UPSTREAM_RESET", 0)}}
	must[*sendResponse](t)(to(t, &fake{send: server.send}).Send(within(t), order()))
	if len(server.keys) != 2 {
		t.Errorf("keys were %v", server.keys)
	}
}

func TestWhatNoServerWouldReadIsRefusedHere(t *testing.T) {
	server := &accepting{}
	client := to(t, &fake{send: server.send})
	request := order()
	request.AppId, request.RequestId = "shop", "order-1"
	request.Message.Body = strings.Repeat("x", 4<<20-proto.Size(request)-8) // what frames it grows too
	must[*sendResponse](t)(client.Send(within(t), request))
	if size := proto.Size(request); size != 4<<20 {
		t.Fatalf("the largest was to be tried, not one of %d bytes", size)
	}
	request.Message.Body += "x"
	_, err := client.Send(within(t), request)
	if failure := failed(t, err, codes.InvalidArgument); failure.Reason != "FIELD_TOO_LONG" || failure.RequestID != "order-1" {
		t.Errorf("%+v", failure)
	}
	device := &pushrpcv1.RegisterDeviceRequest{Token: request.Message.Body + strings.Repeat("x", 1000)}
	_, err = client.Register(within(t), device)
	if failure := failed(t, err, codes.InvalidArgument); failure.Reason != "FIELD_TOO_LONG" {
		t.Errorf("%+v", failure)
	}
	if len(server.keys) != 1 {
		t.Errorf("keys were %v", server.keys)
	}
}

func TestWhatIsWrongIsNotRepeated(t *testing.T) {
	for _, refused := range []error{
		refusal(codes.ResourceExhausted, "QUEUE_FULL", time.Second),
		refusal(codes.Internal, "INTERNAL_ERROR", 0),
		refusal(codes.Unknown, "SOME_REASON", 0),
		refusal(codes.Canceled, "SOME_REASON", 0),
		status.Error(codes.ResourceExhausted, "too much"),
		status.Error(codes.Aborted, "aborted"),
		status.Error(codes.DeadlineExceeded, "a proxy's deadline"),
		status.Error(codes.InvalidArgument, "wrong"),
	} {
		want := pushrpc.AsError(refused)
		t.Run(want.Code.String()+want.Reason, func(t *testing.T) {
			server := &accepting{errors: []error{refused}}
			_, err := to(t, &fake{send: server.send}).Send(within(t), order())
			failure := failed(t, err, want.Code)
			if len(server.keys) != 1 || failure.RequestID != server.keys[0] {
				t.Errorf("was sent %d times, %+v", len(server.keys), failure)
			}
		})
	}
}

func TestWhatCannotBeEncodedIsNotRepeated(t *testing.T) {
	server := &accepting{}
	request := order()
	request.Message.Title = "\xff"
	began := time.Now()
	_, err := to(t, &fake{send: server.send}).Send(within(t), request)
	failed(t, err, codes.Internal)
	if waited := time.Since(began); waited > patience/2 || len(server.keys) != 0 {
		t.Errorf("failed after %v and %d sends", waited, len(server.keys))
	}
}

func TestACallerWhoCancelsASendIsToldSo(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	client := to(t, &fake{send: func(ctx context.Context, _ *sendRequest) (*sendResponse, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	_, err := client.Send(ctx, order())
	failed(t, err, codes.Canceled)
}

func TestWaitingAddsToTheTimeout(t *testing.T) {
	deadline := make(chan time.Duration, 1)
	client := to(t, &fake{send: func(ctx context.Context, _ *sendRequest) (*sendResponse, error) {
		until, _ := ctx.Deadline()
		deadline <- time.Until(until)
		return &sendResponse{}, nil
	}})
	request := order()
	request.Wait = durationpb.New(30 * time.Second)
	must[*sendResponse](t)(client.Send(t.Context(), request))
	if had := <-deadline; had < 35*time.Second || had > 40*time.Second {
		t.Errorf("had %v", had)
	}
}
