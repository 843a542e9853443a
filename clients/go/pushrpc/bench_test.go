package pushrpc_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// BenchmarkFollow replays events from a server in this process that only answers: full pages, with all that is said of a
// sent push. With the address of a real server in PUSHRPC_SERVER (no TLS, app shop) it replays what that has kept.
func BenchmarkFollow(b *testing.B) {
	client, address := (*pushrpc.Client)(nil), os.Getenv("PUSHRPC_SERVER")
	if address != "" {
		client = connect(b, address)
	} else {
		client = to(b, replaying())
	}
	request := &statusRequest{Start: pushrpcv1.StreamStart_STREAM_START_OLDEST, UntilCaughtUp: true}
	next := 0
	for b.ResetTimer(); next < b.N; {
		before := next
		follower, err := client.Follow(b.Context(), request)
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range follower.Events() {
			if err != nil {
				b.Fatal(err)
			}
			if next++; next == b.N {
				break
			}
		}
		follower.Close()
		if next == before {
			b.Skip("the server has kept no event")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// replaying is a server that tells the same page again and again.
func replaying() *fake {
	full := page(0, 500)
	for i, event := range full.Events {
		event.EventId = fmt.Sprintf("0198c3f1a2b4-%d", i)
		event.NotificationId = "0198c3f1-a2b4-7c11-9d0e-5b1c2f3a4d5e"
		event.RequestId = "order-" + strconv.Itoa(i)
		event.Token = fmt.Sprintf("%064x", i)
		event.UserId = "u-" + strconv.Itoa(i)
		event.Provider = pushrpcv1.Provider_PROVIDER_APNS
		event.State = pushrpcv1.DeliveryState_DELIVERY_STATE_SENT
		event.Outcome = pushrpcv1.Outcome_OUTCOME_ACCEPTED
		event.ProviderMessageId = "0198c3f1-a2b4-7c11-9d0e-5b1c2f3a4d5f"
		event.Attempt = 1
		event.Time = timestamppb.Now()
		event.Labels = map[string]string{"campaign": "spring"}
		event.Final = true
		event.ProviderStatus = 200
	}
	return &fake{status: func(_ *statusRequest, stream statusStream) error {
		for {
			if err := stream.Send(full); err != nil {
				return err
			}
		}
	}}
}

// BenchmarkSend makes sends through the client and through the bare stub by turns, so that both meet the same weather, to
// a server in this process that only answers. It tells the median call of each.
func BenchmarkSend(b *testing.B) {
	client := to(b, &fake{send: func(context.Context, *sendRequest) (*sendResponse, error) {
		return &sendResponse{NotificationId: "0198c3f1-a2b4-7c11-9d0e-5b1c2f3a4d5e", TargetCount: 1}, nil
	}})
	request, full := order(), order()
	full.AppId, full.RequestId = "shop", "0198c3f1-a2b4-7c11-9d0e-5b1c2f3a4d5e"
	var ours, bare []time.Duration
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		began := time.Now()
		if _, err := client.Stub().SendNotification(ctx, full); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		if _, err := client.Send(ctx, request); err != nil {
			b.Fatal(err)
		}
		bare, ours = append(bare, between.Sub(began)), append(ours, time.Since(between))
		cancel()
	}
	b.ReportMetric(median(bare), "stub-ns/op")
	b.ReportMetric(median(ours), "send-ns/op")
	b.ReportMetric(100*(median(ours)/median(bare)-1), "overhead-%")
}

func median(each []time.Duration) float64 {
	slices.Sort(each)
	return float64(each[len(each)/2].Nanoseconds())
}
