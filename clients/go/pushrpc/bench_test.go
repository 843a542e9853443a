package pushrpc_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// BenchmarkFollow replays full pages of events with all that a server says of a sent push.
func BenchmarkFollow(b *testing.B) {
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
	client := to(b, &fake{status: func(_ *statusRequest, stream statusStream) error {
		for {
			if err := stream.Send(full); err != nil {
				return err
			}
		}
	}})
	follower, err := client.Follow(b.Context(), &statusRequest{})
	if err != nil {
		b.Fatal(err)
	}
	defer follower.Close()
	next := 0
	b.ResetTimer()
	for _, err := range follower.Events() {
		if err != nil {
			b.Fatal(err)
		}
		if next++; next == b.N {
			break
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkSend makes sends through the client and through the bare stub by turns, so that both meet the same weather.
func BenchmarkSend(b *testing.B) {
	client := to(b, &fake{send: func(context.Context, *sendRequest) (*sendResponse, error) {
		return &sendResponse{NotificationId: "0198c3f1-a2b4-7c11-9d0e-5b1c2f3a4d5e", TargetCount: 1}, nil
	}})
	request, full := order(), order()
	full.AppId, full.RequestId = "shop", "0198c3f1-a2b4-7c11-9d0e-5b1c2f3a4d5e"
	var ours, bare time.Duration
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
		bare, ours = bare+between.Sub(began), ours+time.Since(between)
		cancel()
	}
	b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N), "stub-ns/op")
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "send-ns/op")
	b.ReportMetric(100*(float64(ours)/float64(bare)-1), "overhead-%")
}
