package pushrpc_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

func TestATokenIsAskedForBeforeEveryAttempt(t *testing.T) {
	server := &asked{answers: []error{status.Error(codes.Unavailable, "away")}}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept))
	var asks atomic.Int64
	client := connect(t, address, pushrpc.WithBearerTokenFunc(func(context.Context) (string, error) {
		if asks.Add(1) == 3 {
			return "", nil
		}
		return fmt.Sprintf("t-%d", asks.Load()), nil
	}))
	for range 2 {
		must[*pushrpcv1.RegisterDeviceResponse](t)(client.Register(within(t), &pushrpcv1.RegisterDeviceRequest{}))
	}
	if !slices.Equal(server.tokens, []string{"Bearer t-1", "Bearer t-2", ""}) {
		t.Errorf("tokens were %q", server.tokens)
	}
}

func TestATokenThatIsNotToBeHadFailsTheCall(t *testing.T) {
	none := func(context.Context) (string, error) { return "", errors.New("the vault is sealed") }
	client := to(t, &fake{}, pushrpc.WithBearerTokenFunc(none))
	_, register := client.Register(within(t), &pushrpcv1.RegisterDeviceRequest{})
	_, send := client.Send(within(t), keyed("order-1"))
	_, follow := client.Follow(within(t), &statusRequest{})
	pending := must[*pushrpc.Pending](t)(client.Bulk(within(t)).Add(within(t), keyed("order-2")))
	_, bulk := pending.Receipt(within(t))
	for i, err := range []error{register, send, follow, bulk} {
		failure := failed(t, err, codes.Unauthenticated)
		if failure.Reason != "TOKEN_UNAVAILABLE" || !strings.Contains(failure.Message, "the vault is sealed") {
			t.Errorf("call %d: %+v", i, failure)
		}
	}
	if pushrpc.AsError(send).RequestID != "order-1" || pushrpc.AsError(bulk).RequestID != "order-2" {
		t.Errorf("%+v, %+v", send, bulk)
	}
}

func TestATokenThatTakesTooLongIsTheCallersDeadline(t *testing.T) {
	slow := func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", errors.New("gave up")
	}
	client := to(t, &fake{}, pushrpc.WithBearerTokenFunc(slow), pushrpc.WithTimeout(100*time.Millisecond))
	_, err := client.Send(t.Context(), order())
	failed(t, err, codes.DeadlineExceeded)
}

func TestATokenThatIsNoFunctionIsAMistake(t *testing.T) {
	if _, err := pushrpc.NewClient("127.0.0.1:1", "shop", pushrpc.WithBearerTokenFunc(nil)); err == nil {
		t.Error("was taken")
	}
}
