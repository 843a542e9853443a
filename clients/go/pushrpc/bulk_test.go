package pushrpc_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

type bulkRequest = pushrpcv1.SendNotificationsRequest

// bulks is a server of bulk streams that keeps what it got, and accepts every send but those keyed "bad".
type bulks struct {
	mu       sync.Mutex
	streams  int
	messages []*bulkRequest
	// breaks says how a stream ends instead of answering a message; nil answers it.
	breaks func(stream, message int) error
	// holds keeps answers back until it is closed.
	holds chan struct{}
}

func (b *bulks) bulk(stream bulkStream) error {
	b.mu.Lock()
	b.streams++
	number := b.streams
	b.mu.Unlock()
	unanswered := make(chan *bulkRequest, 100)
	go func() {
		defer close(unanswered)
		for {
			request, err := stream.Recv()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.messages = append(b.messages, request)
			b.mu.Unlock()
			unanswered <- request
		}
	}()
	turn := 0
	for request := range unanswered {
		if b.holds != nil {
			<-b.holds
		}
		turn++
		if b.breaks != nil {
			if err := b.breaks(number, turn); err != nil {
				return err
			}
		}
		if err := stream.Send(receipts(request)); err != nil {
			return err
		}
	}
	return nil
}

func receipts(request *bulkRequest) *pushrpcv1.SendNotificationsResponse {
	response := &pushrpcv1.SendNotificationsResponse{Sequence: request.Sequence}
	for _, send := range request.Sends {
		receipt := &pushrpcv1.SendReceipt{RequestId: send.RequestId}
		if strings.HasPrefix(send.RequestId, "bad") {
			receipt.Result = &pushrpcv1.SendReceipt_Error{Error: &pushrpcv1.SendFailure{
				Code: int32(codes.InvalidArgument), Reason: "TARGET_EMPTY", Detail: "target names nothing",
				FieldViolations: []*pushrpcv1.FieldViolation{{Field: "target", Description: "names nothing"}},
				RetryAfter:      durationpb.New(time.Second),
			}}
		} else {
			receipt.Result = &pushrpcv1.SendReceipt_Accepted{Accepted: &sendResponse{NotificationId: "n-" + send.RequestId}}
		}
		response.Receipts = append(response.Receipts, receipt)
	}
	return response
}

// sizes are the counts of sends of all messages so far.
func (b *bulks) sizes() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	var counts []int
	for _, message := range b.messages {
		counts = append(counts, len(message.Sends))
	}
	return counts
}

func keyed(key string) *sendRequest {
	request := order()
	request.RequestId = key
	return request
}

func TestEachReceiptComesToItsSend(t *testing.T) {
	server := &bulks{}
	bulk := to(t, &fake{bulk: server.bulk}).Bulk(within(t))
	var added []*pushrpc.Pending
	for _, key := range []string{"b-1", "bad-2", "b-3", ""} {
		added = append(added, must[*pushrpc.Pending](t)(bulk.Add(within(t), keyed(key))))
	}
	if err := bulk.Close(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"n-b-1", "", "n-b-3", "n-" + added[3].RequestID()} {
		if receipt, err := added[i].Receipt(within(t)); want != "" && (err != nil || receipt.NotificationId != want) {
			t.Errorf("send %d: %v, %v", i, receipt, err)
		}
	}
	_, err := added[1].Receipt(within(t))
	failure := failed(t, err, codes.InvalidArgument)
	if failure.Reason != "TARGET_EMPTY" || failure.Message != "target names nothing" || failure.RequestID != "bad-2" ||
		failure.RetryDelay != time.Second ||
		!slices.Equal(failure.FieldViolations, []pushrpc.FieldViolation{{Field: "target", Description: "names nothing"}}) {
		t.Errorf("%+v", failure)
	}
	if len(added[3].RequestID()) != 36 || server.messages[0].AppId != "shop" {
		t.Errorf("%q of %q", added[3].RequestID(), server.messages[0].AppId)
	}
	_, err = bulk.Add(within(t), keyed("late"))
	toldClosed(t, err)
	if failure := pushrpc.AsError(err); failure.RequestID != "late" {
		t.Errorf("%+v", failure)
	}
	if err := bulk.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestMessagesHoldNoMoreThanTheServerTakes(t *testing.T) {
	tokens := func(count, bytes int) *sendRequest {
		request := order()
		group := &pushrpcv1.TokenTarget{Provider: pushrpcv1.Provider_PROVIDER_APNS}
		for range count {
			group.Tokens = append(group.Tokens, strings.Repeat("a", bytes))
		}
		request.Target.Tokens = []*pushrpcv1.TokenTarget{group}
		return request
	}
	for name, each := range map[string]struct {
		request *sendRequest
		fill    int // sends of a full message
	}{
		"sends":            {order(), 500},
		"targets":          {tokens(999, 4), 10},
		"bytes":            {tokens(200, 4096), 5},
		"alone and beyond": {tokens(11_000, 4), 1},
	} {
		t.Run(name, func(t *testing.T) {
			server := &bulks{holds: make(chan struct{})}
			bulk := to(t, &fake{bulk: server.bulk}).Bulk(within(t))
			count := each.fill * (pushrpc.UnansweredMax + 3) // more than may be taken unanswered
			for added := 0; added < count; added++ {
				soon, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				if _, err := bulk.Add(soon, each.request); err != nil {
					failed(t, err, codes.DeadlineExceeded)
					close(server.holds) // the message that waits behind the unanswered ones is full
					added--
				}
				cancel()
			}
			if err := bulk.Close(); err != nil {
				t.Fatal(err)
			}
			total := 0
			for _, size := range server.sizes() {
				if total += size; size > each.fill {
					t.Errorf("a message has %d sends", size)
				}
			}
			for _, message := range server.messages {
				if bytes := proto.Size(message); bytes >= 4<<20 {
					t.Errorf("a message has %d bytes", bytes)
				}
			}
			if total != count || !slices.Contains(server.sizes(), each.fill) {
				t.Errorf("got %v", server.sizes())
			}
		})
	}
	_, err := to(t, &fake{}).Bulk(within(t)).Add(within(t), tokens(1100, 4096))
	if failure := failed(t, err, codes.InvalidArgument); failure.Reason != "FIELD_TOO_LONG" || failure.RequestID == "" {
		t.Errorf("%+v", failure)
	}
}

func TestAMessageWaitsOnlyShortlyToBeFilled(t *testing.T) {
	server := &bulks{}
	bulk := to(t, &fake{bulk: server.bulk}).Bulk(within(t))
	for range 2 {
		pending := must[*pushrpc.Pending](t)(bulk.Add(within(t), order()))
		must[*sendResponse](t)(pending.Receipt(within(t))) // without Close, and without others
	}
	if sizes := server.sizes(); !slices.Equal(sizes, []int{1, 1}) {
		t.Errorf("got %v", sizes)
	}
}

func TestASlowServerHoldsCallersBack(t *testing.T) {
	server := &bulks{holds: make(chan struct{})}
	bulk := to(t, &fake{bulk: server.bulk}).Bulk(within(t))
	added := 0
	for {
		soon, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := bulk.Add(soon, keyed("slow"))
		cancel()
		if err != nil {
			if failure := failed(t, err, codes.DeadlineExceeded); failure.RequestID != "slow" {
				t.Errorf("%+v", failure)
			}
			break
		}
		added++
	}
	if most := 500*(pushrpc.UnansweredMax+1) + 1; added > most || added < 500 {
		t.Errorf("%d were taken, with room for %d", added, most)
	}
	if sizes := server.sizes(); len(sizes) != pushrpc.UnansweredMax {
		t.Errorf("got %v", sizes)
	}
	close(server.holds)
	if err := bulk.Close(); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, size := range server.sizes() {
		total += size
	}
	if total != added {
		t.Errorf("%d of %d arrived", total, added)
	}
}

func TestWhatABrokenStreamLeftIsSentAgain(t *testing.T) {
	for name, broken := range map[string]error{
		"draining": refusal(codes.Unavailable, "DRAINING", time.Millisecond),
		"gone":     status.Error(codes.Unavailable, "gone"),
	} {
		t.Run(name, func(t *testing.T) {
			server := &bulks{breaks: func(stream, message int) error {
				if stream < 4 && message == 2 {
					return broken
				}
				return nil
			}}
			bulk := to(t, &fake{bulk: server.bulk}).Bulk(within(t))
			var added []*pushrpc.Pending
			for i := range 5000 {
				added = append(added, must[*pushrpc.Pending](t)(bulk.Add(within(t), keyed(fmt.Sprintf("b-%d", i)))))
			}
			if err := bulk.Close(); err != nil {
				t.Fatal(err)
			}
			for i, pending := range added {
				if receipt := must[*sendResponse](t)(pending.Receipt(within(t))); receipt.NotificationId != fmt.Sprintf("n-b-%d", i) {
					t.Fatalf("send %d was told %v", i, receipt)
				}
			}
			if server.streams != 4 {
				t.Errorf("opened %d streams", server.streams)
			}
		})
	}
}

func TestAStreamThatEndsWithoutCauseIsOpenedAgain(t *testing.T) {
	var streams int
	server := &bulks{}
	bulk := to(t, &fake{bulk: func(stream bulkStream) error {
		if streams++; streams == 1 {
			_, err := stream.Recv()
			return err // OK, but nothing was answered
		}
		return server.bulk(stream)
	}}).Bulk(within(t))
	pending := must[*pushrpc.Pending](t)(bulk.Add(within(t), order()))
	must[*sendResponse](t)(pending.Receipt(within(t)))
}

func TestASilentBulkStreamIsOpenedAgain(t *testing.T) {
	var once sync.Once
	server := &bulks{}
	client := to(t, &fake{bulk: func(stream bulkStream) error {
		once.Do(func() { <-stream.Context().Done() })
		return server.bulk(stream)
	}}, pushrpc.WithSilence(300*time.Millisecond))
	pending := must[*pushrpc.Pending](t)(client.Bulk(within(t)).Add(within(t), order()))
	must[*sendResponse](t)(pending.Receipt(within(t)))
}

// TestABulkThatNobodyAnswersFails has a server that reads and says nothing, one whose answers are none, and no server.
func TestABulkThatNobodyAnswersFails(t *testing.T) {
	const silence, opening = 300 * time.Millisecond, 200 * time.Millisecond
	limits := []pushrpc.Option{pushrpc.WithSilence(silence), pushrpc.WithOpening(opening)}
	for name, stream := range map[string]func(bulkStream) error{
		"silent": func(stream bulkStream) error {
			<-stream.Context().Done()
			return nil
		},
		"garbled": func(stream bulkStream) error {
			request, err := stream.Recv()
			if err == nil {
				err = stream.Send(&pushrpcv1.SendNotificationsResponse{Sequence: request.Sequence + 1})
			}
			<-stream.Context().Done()
			return err
		},
		"away for long": func(bulkStream) error { return refusal(codes.ResourceExhausted, "TOO_MANY_STREAMS", time.Hour) },
		"none":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			var streams atomic.Int32
			answers := atomic.Bool{}
			client := connect(t, "127.0.0.1:1", limits...)
			if stream != nil {
				client = to(t, &fake{bulk: func(each bulkStream) error {
					if streams.Add(1); answers.Load() {
						return (&bulks{}).bulk(each)
					}
					return stream(each)
				}}, limits...)
			}
			bulk := client.Bulk(within(t))
			began := time.Now()
			pending := must[*pushrpc.Pending](t)(bulk.Add(within(t), keyed("b-1")))
			_, err := pending.Receipt(within(t))
			failure := failed(t, err, codes.Unavailable)
			if failure.RequestID != "b-1" || failure.Reason != "" || !strings.Contains(failure.Message, "not known whether") {
				t.Errorf("%+v", failure)
			}
			if took := time.Since(began); took < silence+opening || took > patience/2 {
				t.Errorf("took %v", took)
			}
			if name == "silent" && streams.Load() != 2 {
				t.Errorf("opened %d streams", streams.Load())
			}
			if answers.Store(true); stream != nil { // the bulk goes on
				pending = must[*pushrpc.Pending](t)(bulk.Add(within(t), keyed("b-2")))
				must[*sendResponse](t)(pending.Receipt(within(t)))
			}
			if err := bulk.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryCodeThatMayPassReopensTheBulk(t *testing.T) {
	final := []codes.Code{codes.InvalidArgument, codes.NotFound, codes.OutOfRange, codes.AlreadyExists,
		codes.FailedPrecondition, codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		for _, reason := range []string{"", "SOME_REASON"} {
			t.Run(code.String()+reason, func(t *testing.T) {
				told := status.Error(code, "refused")
				if reason != "" {
					told = refusal(code, reason, 0)
				}
				server := &bulks{breaks: func(stream, message int) error {
					if stream == 1 {
						return told
					}
					return nil
				}}
				bulk := to(t, &fake{bulk: server.bulk}).Bulk(within(t))
				pending := must[*pushrpc.Pending](t)(bulk.Add(within(t), keyed("b-1")))
				_, err := pending.Receipt(within(t))
				if !slices.Contains(final, code) {
					must[*sendResponse](t)(nil, err)
				} else if failure := failed(t, err, code); failure.RequestID != "b-1" || failure.Reason != reason {
					t.Errorf("%+v", failure)
				}
				pending = must[*pushrpc.Pending](t)(bulk.Add(within(t), keyed("b-2"))) // the bulk goes on
				must[*sendResponse](t)(pending.Receipt(within(t)))
				if err := bulk.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestTheEndOfTheContextEndsTheBulk(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t))
	server := &bulks{holds: make(chan struct{})}
	t.Cleanup(func() { close(server.holds) })
	bulk := to(t, &fake{bulk: server.bulk}).Bulk(ctx)
	pending := must[*pushrpc.Pending](t)(bulk.Add(ctx, order()))
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	_, err := pending.Receipt(short)
	failed(t, err, codes.DeadlineExceeded)
	cancel()
	_, err = pending.Receipt(within(t))
	failed(t, err, codes.Canceled)
	failed(t, bulk.Close(), codes.Canceled)
}

func TestManyAddAtOnce(t *testing.T) {
	server := &bulks{}
	bulk := to(t, &fake{bulk: server.bulk}).Bulk(within(t))
	var callers sync.WaitGroup
	for caller := range 20 {
		callers.Go(func() {
			for i := range 100 {
				key := fmt.Sprintf("b-%d-%d", caller, i)
				pending, err := bulk.Add(within(t), keyed(key))
				if err != nil {
					t.Error(err)
					return
				}
				if receipt, err := pending.Receipt(within(t)); err != nil || receipt.NotificationId != "n-"+key {
					t.Errorf("%s: %v, %v", key, receipt, err)
				}
			}
		})
	}
	callers.Wait()
	if err := bulk.Close(); err != nil {
		t.Error(err)
	}
}
