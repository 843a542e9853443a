package pushrpc_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// toldClosed fails the test unless err says that the client was closed.
func toldClosed(t *testing.T, err error) {
	t.Helper()
	if failure := failed(t, err, codes.Canceled); failure.Reason != "CLIENT_CLOSED" {
		t.Errorf("%+v", failure)
	}
}

func TestClosingTwiceDoesNothing(t *testing.T) {
	client := to(t, &fake{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
}

func TestAClosedClientSaysSo(t *testing.T) {
	client := to(t, &fake{})
	client.Close()
	_, err := client.Register(within(t), &pushrpcv1.RegisterDeviceRequest{})
	toldClosed(t, err)
	_, err = client.Send(within(t), keyed("order-1"))
	toldClosed(t, err)
	if failure := pushrpc.AsError(err); failure.RequestID != "order-1" {
		t.Errorf("%+v", failure)
	}
	_, err = client.Follow(within(t), &statusRequest{})
	toldClosed(t, err)
	toldClosed(t, added(t, client.Bulk(within(t))))
}

// added is how one more send of a bulk fails, at once or with its receipt.
func added(t *testing.T, bulk *pushrpc.Bulk) error {
	t.Helper()
	pending, err := bulk.Add(within(t), order())
	if err == nil {
		_, err = pending.Receipt(within(t))
	}
	return err
}

// TestClosingEndsWhatIsOpen closes a client under each thing that can wait.
func TestClosingEndsWhatIsOpen(t *testing.T) {
	away := refusal(codes.Unavailable, "STARTING", patience/2)
	reached := make(chan struct{}, 10)
	waiting := &fake{
		send: func(ctx context.Context, _ *sendRequest) (*sendResponse, error) {
			reached <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		},
		status: func(_ *statusRequest, stream statusStream) error {
			if err := stream.Send(heartbeat(0)); err != nil {
				return err
			}
			reached <- struct{}{}
			<-stream.Context().Done()
			return nil
		},
		bulk: func(stream bulkStream) error {
			reached <- struct{}{}
			<-stream.Context().Done()
			return nil
		},
	}
	pausing := &fake{
		send: func(context.Context, *sendRequest) (*sendResponse, error) {
			reached <- struct{}{}
			return nil, away
		},
		status: func(request *statusRequest, stream statusStream) error {
			if request.Cursor == "" {
				return stream.Send(heartbeat(0))
			}
			reached <- struct{}{}
			return away
		},
		bulk: func(bulkStream) error {
			reached <- struct{}{}
			return away
		},
	}
	for does, service := range map[string]*fake{"waiting": waiting, "pausing": pausing} {
		for name, use := range map[string]func(*testing.T, *pushrpc.Client) error{
			"send": func(t *testing.T, client *pushrpc.Client) error {
				_, err := client.Send(within(t), order())
				return err
			},
			"follow": func(t *testing.T, client *pushrpc.Client) (last error) {
				follower, err := client.Follow(within(t), &statusRequest{})
				if err != nil {
					return err
				}
				for _, err := range follower.Events() {
					last = err
				}
				return last
			},
			"bulk": func(t *testing.T, client *pushrpc.Client) error {
				bulk := client.Bulk(within(t))
				pending, err := bulk.Add(within(t), order())
				if err != nil {
					return err
				}
				if _, err = pending.Receipt(within(t)); pushrpc.AsError(err).RequestID != pending.RequestID() {
					t.Errorf("%+v", err)
				}
				toldClosed(t, bulk.Close())
				return err
			},
		} {
			t.Run(name+" "+does, func(t *testing.T) {
				client := to(t, service)
				ended := make(chan error, 1)
				go func() { ended <- use(t, client) }()
				<-reached
				time.Sleep(50 * time.Millisecond) // so that most often it has its answer and pauses; it must end alike when not
				began := time.Now()
				client.Close()
				toldClosed(t, <-ended)
				if took := time.Since(began); took > patience/4 {
					t.Errorf("took %v", took)
				}
			})
		}
	}
}

func TestClosingEndsABulkThatNeverBegan(t *testing.T) {
	client := to(t, &fake{})
	bulk := client.Bulk(within(t))
	client.Close()
	select {
	case <-bulk.Ended():
		toldClosed(t, bulk.Close())
	case <-within(t).Done():
		t.Error("goes on")
	}
}

func TestClosingEndsAnIdleBulk(t *testing.T) {
	client := to(t, &fake{bulk: (&bulks{}).bulk})
	bulk := client.Bulk(within(t))
	pending := must[*pushrpc.Pending](t)(bulk.Add(within(t), order()))
	must[*sendResponse](t)(pending.Receipt(within(t)))
	client.Close()
	toldClosed(t, added(t, bulk))
	toldClosed(t, bulk.Close())
}
