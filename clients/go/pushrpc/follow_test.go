package pushrpc_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
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

type (
	statusRequest  = pushrpcv1.StreamDeliveryStatusRequest
	statusResponse = pushrpcv1.StreamDeliveryStatusResponse
	event          = pushrpcv1.DeliveryEvent
)

// page has the events [from, to), and a cursor after them.
func page(from, to int) *statusResponse {
	response := &statusResponse{Cursor: strconv.Itoa(to)}
	for i := from; i < to; i++ {
		response.Events = append(response.Events, &event{EventId: strconv.Itoa(i)})
	}
	return response
}

func heartbeat(at int) *statusResponse {
	return &statusResponse{
		Cursor: strconv.Itoa(at),
		Signal: &statusResponse_heartbeat{Heartbeat: &pushrpcv1.StreamHeartbeat{CaughtUp: true}},
	}
}

func reconnect(at int, delay time.Duration) *statusResponse {
	told := &pushrpcv1.StreamReconnect{Delay: durationpb.New(delay)}
	return &statusResponse{Cursor: strconv.Itoa(at), Signal: &statusResponse_reconnect{Reconnect: told}}
}

func end(at int) *statusResponse {
	told := &pushrpcv1.StreamEnd{Counts: &pushrpcv1.DeliveryCounts{Total: int32(at)}}
	return &statusResponse{Cursor: strconv.Itoa(at), Signal: &statusResponse_end{End: told}}
}

type (
	statusResponse_heartbeat = pushrpcv1.StreamDeliveryStatusResponse_Heartbeat
	statusResponse_reconnect = pushrpcv1.StreamDeliveryStatusResponse_Reconnect
	statusResponse_end       = pushrpcv1.StreamDeliveryStatusResponse_End
)

// following is a server whose streams are scripts: each tells its messages, then ends with its error; the last one
// stays open when its error is nil and it said no end.
type following struct {
	streams  []script
	requests chan *statusRequest
}

type script struct {
	messages []*statusResponse
	err      error
}

func follows(streams ...script) *following {
	return &following{streams: streams, requests: make(chan *statusRequest, 100)}
}

func (f *following) status(request *statusRequest, stream statusStream) error {
	f.requests <- proto.Clone(request).(*statusRequest)
	turn := min(len(f.requests), len(f.streams)) - 1
	for _, message := range f.streams[turn].messages {
		if err := stream.Send(message); err != nil {
			return err
		}
		if message.GetEnd() != nil {
			return nil
		}
	}
	if turn == len(f.streams)-1 && f.streams[turn].err == nil {
		<-stream.Context().Done()
	}
	return f.streams[turn].err
}

// opened are the requests of all streams so far.
func (f *following) opened() []*statusRequest {
	var requests []*statusRequest
	for len(f.requests) > 0 {
		requests = append(requests, <-f.requests)
	}
	return requests
}

func ids(t testing.TB, follower *pushrpc.Follower) []string {
	t.Helper()
	var seen []string
	for event, err := range follower.Events() {
		if err != nil {
			t.Fatalf("after %v: %v", seen, err)
		}
		seen = append(seen, event.EventId)
	}
	return seen
}

func numbers(to int) []string {
	var all []string
	for i := range to {
		all = append(all, strconv.Itoa(i))
	}
	return all
}

func TestFollowingToTheEnd(t *testing.T) {
	server := follows(script{messages: []*statusResponse{page(0, 2), heartbeat(2), page(2, 3), end(3)}})
	client := to(t, &fake{status: server.status})
	request := &statusRequest{NotificationIds: []string{"n-1"}, FinalOnly: true}
	follower := must[*pushrpc.Follower](t)(client.Follow(within(t), request))
	if follower.End() != nil {
		t.Error("has not ended yet")
	}
	if seen := ids(t, follower); !slices.Equal(seen, numbers(3)) {
		t.Errorf("saw %v", seen)
	}
	if follower.End().GetCounts().GetTotal() != 3 || follower.Cursor() != "3" {
		t.Errorf("ended with %v at %q", follower.End(), follower.Cursor())
	}
	if asked := server.opened(); len(asked) != 1 || !proto.Equal(asked[0], &statusRequest{
		AppId: "shop", NotificationIds: []string{"n-1"}, FinalOnly: true,
	}) {
		t.Errorf("asked for %v", asked)
	}
	if len(ids(t, follower)) != 0 {
		t.Error("nothing follows the end")
	}
}

func TestTheCursorMovesWithTheLastEventOfAPage(t *testing.T) {
	server := follows(script{messages: []*statusResponse{page(10, 12), page(12, 13), heartbeat(20), end(20)}})
	client := to(t, &fake{status: server.status})
	follower := must[*pushrpc.Follower](t)(client.Follow(within(t), &statusRequest{Cursor: "10"}))
	cursors := []string{follower.Cursor()}
	for _, err := range follower.Events() {
		if err != nil {
			t.Fatal(err)
		}
		cursors = append(cursors, follower.Cursor())
	}
	if cursors = append(cursors, follower.Cursor()); !slices.Equal(cursors, []string{"10", "10", "12", "13", "20"}) {
		t.Errorf("cursors were %v", cursors)
	}
}

func TestRangingAgainGoesOn(t *testing.T) {
	server := follows(script{messages: []*statusResponse{page(0, 5), end(5)}})
	follower := must[*pushrpc.Follower](t)(to(t, &fake{status: server.status}).Follow(within(t), &statusRequest{}))
	for range follower.Events() {
		break
	}
	if seen := ids(t, follower); !slices.Equal(seen, []string{"1", "2", "3", "4"}) {
		t.Errorf("saw %v", seen)
	}
}

func TestAFollowerComesBackToWhereItWas(t *testing.T) {
	for name, broken := range map[string]error{
		"unavailable":       status.Error(codes.Unavailable, "gone"),
		"slow reader":       refusal(codes.Aborted, "SLOW_READER", time.Millisecond),
		"too many streams":  refusal(codes.ResourceExhausted, "TOO_MANY_STREAMS", time.Millisecond),
		"cut off by others": status.Error(codes.DeadlineExceeded, "a proxy's"),
		"reset":             status.Error(codes.Internal, "stream reset"),
		"without a word":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			server := follows(
				script{[]*statusResponse{heartbeat(0), page(0, 3)}, broken},
				script{nil, status.Error(codes.Unavailable, "still gone")},
				script{[]*statusResponse{page(3, 4), end(4)}, nil},
			)
			client := to(t, &fake{status: server.status})
			request := &statusRequest{AppId: "shop", Start: pushrpcv1.StreamStart_STREAM_START_OLDEST}
			follower := must[*pushrpc.Follower](t)(client.Follow(within(t), request))
			if seen := ids(t, follower); !slices.Equal(seen, numbers(4)) {
				t.Errorf("saw %v", seen)
			}
			asked := server.opened()
			if asked[0].Start != pushrpcv1.StreamStart_STREAM_START_OLDEST || asked[0].Cursor != "" {
				t.Errorf("began with %v", asked[0])
			}
			for _, again := range asked[1:] {
				if again.Cursor != "3" || again.Start != pushrpcv1.StreamStart_STREAM_START_UNSPECIFIED {
					t.Errorf("came back with %v", again)
				}
			}
			if len(asked) != 3 || request.Cursor != "" {
				t.Errorf("opened %d streams, and the caller's request became %v", len(asked), request)
			}
		})
	}
}

func TestACursorWinsOverAStart(t *testing.T) {
	server := follows(script{[]*statusResponse{page(3, 4), end(4)}, nil})
	request := &statusRequest{Cursor: "3", Start: pushrpcv1.StreamStart_STREAM_START_OLDEST}
	ids(t, must[*pushrpc.Follower](t)(to(t, &fake{status: server.status}).Follow(within(t), request)))
	asked := server.opened()[0]
	if asked.Cursor != "3" || asked.Start != pushrpcv1.StreamStart_STREAM_START_UNSPECIFIED || request.Start == asked.Start {
		t.Errorf("asked for %v, and the caller's request became %v", asked, request)
	}
}

func TestNoGapAndNoRepeatWhereverStreamsBreak(t *testing.T) {
	const events = 2_000
	client := to(t, &fake{status: func(request *statusRequest, stream statusStream) error {
		at, _ := strconv.Atoi(request.Cursor)
		for at < events {
			if rand.N(10) == 0 {
				return stream.Send(reconnect(at, 0))
			}
			next := min(events, at+1+rand.N(300))
			if err := stream.Send(page(at, next)); err != nil {
				return err
			}
			at = next
		}
		return stream.Send(end(at))
	}})
	follower := must[*pushrpc.Follower](t)(client.Follow(within(t), &statusRequest{}))
	if seen := ids(t, follower); !slices.Equal(seen, numbers(events)) {
		t.Errorf("saw %d events of %d", len(seen), events)
	}
}

func TestAServerThatIsStartedAgain(t *testing.T) {
	before := follows(script{messages: []*statusResponse{page(0, 1)}})
	first, address := serve(t, "", &fake{status: before.status})
	follower := must[*pushrpc.Follower](t)(connect(t, address).Follow(within(t), &statusRequest{}))
	var seen []string
	for event, err := range follower.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, event.EventId); len(seen) == 1 {
			first.Stop()
			after := follows(script{messages: []*statusResponse{page(1, 2), end(2)}})
			serve(t, address, &fake{status: after.status})
		}
	}
	if !slices.Equal(seen, numbers(2)) {
		t.Errorf("saw %v", seen)
	}
}

func TestReconnectingTakesTheServersTime(t *testing.T) {
	const delay = 300 * time.Millisecond
	server := follows(
		script{messages: []*statusResponse{page(0, 1), reconnect(1, delay)}},
		script{messages: []*statusResponse{page(1, 2), end(2)}},
	)
	follower := must[*pushrpc.Follower](t)(to(t, &fake{status: server.status}).Follow(within(t), &statusRequest{}))
	began := time.Now()
	if seen := ids(t, follower); !slices.Equal(seen, numbers(2)) || time.Since(began) < delay {
		t.Errorf("saw %v after %v", seen, time.Since(began))
	}
}

func TestRefusalsAreErrors(t *testing.T) {
	for _, refused := range []error{
		refusal(codes.OutOfRange, "CURSOR_EXPIRED", 0),
		refusal(codes.NotFound, "NOTIFICATION_NOT_FOUND", 0),
		status.Error(codes.Unimplemented, "no such method"),
		refusal(codes.InvalidArgument, "CURSOR_INVALID", 0),
		status.Error(codes.AlreadyExists, "exists"),
		status.Error(codes.FailedPrecondition, "not now"),
		status.Error(codes.Unauthenticated, "who are you"),
		status.Error(codes.PermissionDenied, "not yours"),
	} {
		want := pushrpc.AsError(refused)
		t.Run(fmt.Sprint(want.Code), func(t *testing.T) {
			server := follows(script{nil, refused})
			_, err := to(t, &fake{status: server.status}).Follow(within(t), &statusRequest{})
			if failure := failed(t, err, want.Code); failure.Reason != want.Reason || len(server.opened()) != 1 {
				t.Errorf("%+v", failure)
			}
		})
	}
	t.Run("later", func(t *testing.T) {
		server := follows(
			script{[]*statusResponse{page(0, 1)}, status.Error(codes.Unavailable, "gone")},
			script{nil, refusal(codes.OutOfRange, "CURSOR_EXPIRED", 0)},
		)
		follower := must[*pushrpc.Follower](t)(to(t, &fake{status: server.status}).Follow(within(t), &statusRequest{}))
		for range 2 { // it stays so
			var last error
			for _, err := range follower.Events() {
				last = err
			}
			failed(t, last, codes.OutOfRange)
		}
	})
}

func TestFailuresThatPassAreResumedFromTheLastCursor(t *testing.T) {
	for _, passes := range []error{
		refusal(codes.Aborted, "SLOW_READER", 0),
		refusal(codes.ResourceExhausted, "TOO_MANY_STREAMS", 0),
		refusal(codes.Internal, "INTERNAL_ERROR", 0),
		refusal(codes.Unavailable, "DRAINING", time.Millisecond),
		status.Error(codes.DeadlineExceeded, "a proxy's deadline"),
		status.Error(codes.Internal, "stream reset"),
		status.Error(codes.Unknown, "who knows"),
		status.Error(codes.Canceled, "stream reset"),
		status.Error(codes.DataLoss, "garbled"),
		nil, // the stream ends without saying why
	} {
		want := pushrpc.AsError(passes)
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			server := follows(
				script{nil, passes}, // before anything was told
				script{[]*statusResponse{page(0, 2)}, passes},
				script{nil, passes},
				script{messages: []*statusResponse{page(2, 3), end(3)}},
			)
			follower := must[*pushrpc.Follower](t)(to(t, &fake{status: server.status}).Follow(within(t), &statusRequest{}))
			if seen := ids(t, follower); !slices.Equal(seen, numbers(3)) {
				t.Errorf("saw %v", seen)
			}
			var cursors []string
			for _, request := range server.opened() {
				cursors = append(cursors, request.Cursor)
			}
			if !slices.Equal(cursors, []string{"", "", "2", "2"}) {
				t.Errorf("opened at %q", cursors)
			}
		})
	}
}

func TestAServerThatIsAwayFromTheStart(t *testing.T) {
	client := connect(t, "127.0.0.1:1", pushrpc.WithOpening(300*time.Millisecond))
	began := time.Now()
	_, err := client.Follow(within(t), &statusRequest{})
	failed(t, err, codes.Unavailable)
	if waited := time.Since(began); waited < 300*time.Millisecond {
		t.Errorf("gave up after %v", waited)
	}
}

func TestTheTimeToOpenIsNotTheTimeoutOfCalls(t *testing.T) {
	if pushrpc.OpeningMax != 20*time.Second {
		t.Errorf("is %v", pushrpc.OpeningMax)
	}
	gone := script{nil, refusal(codes.Unavailable, "STARTING", 300*time.Millisecond)}
	server := follows(gone, script{messages: []*statusResponse{heartbeat(0), end(0)}})
	client := to(t, &fake{status: server.status}, pushrpc.WithTimeout(100*time.Millisecond))
	follower := must[*pushrpc.Follower](t)(client.Follow(within(t), &statusRequest{}))
	if seen := ids(t, follower); len(seen) != 0 || len(server.opened()) != 2 {
		t.Errorf("saw %v", seen)
	}
}

func TestWhatHasBegunOutlivesTheTimeToOpen(t *testing.T) {
	for name, first := range map[string]*statusResponse{"page": page(0, 1), "reconnect": reconnect(1, time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			server := follows(
				script{[]*statusResponse{first}, nil},
				script{nil, refusal(codes.Unavailable, "STARTING", time.Second)}, // longer than the time to open
				script{messages: []*statusResponse{page(1, 2), end(2)}},
			)
			client := to(t, &fake{status: server.status}, pushrpc.WithOpening(500*time.Millisecond))
			follower := must[*pushrpc.Follower](t)(client.Follow(within(t), &statusRequest{}))
			if seen := ids(t, follower); seen[len(seen)-1] != "1" {
				t.Errorf("saw %v", seen)
			}
		})
	}
}

func TestAServerThatNeverBegins(t *testing.T) {
	client := to(t, &fake{status: follows(script{}).status}, pushrpc.WithOpening(300*time.Millisecond))
	_, err := client.Follow(within(t), &statusRequest{})
	failed(t, err, codes.Unavailable)
}

func TestOpeningFailsWithTheLastError(t *testing.T) {
	for name, streams := range map[string][]script{
		"again and again":  {{err: refusal(codes.ResourceExhausted, "TOO_MANY_STREAMS", 0)}},
		"before a silence": {{err: refusal(codes.ResourceExhausted, "TOO_MANY_STREAMS", 0)}, {}},
	} {
		t.Run(name, func(t *testing.T) {
			server := follows(streams...)
			client := to(t, &fake{status: server.status}, pushrpc.WithOpening(600*time.Millisecond))
			_, err := client.Follow(within(t), &statusRequest{})
			if failure := failed(t, err, codes.ResourceExhausted); failure.Reason != "TOO_MANY_STREAMS" {
				t.Errorf("%+v", failure)
			}
			if opened := len(server.opened()); opened < 2 {
				t.Errorf("opened %d times", opened)
			}
		})
	}
}

func TestASilentStreamIsOpenedAgain(t *testing.T) {
	server := follows(
		script{messages: []*statusResponse{page(0, 1)}, err: errStays},
		script{messages: []*statusResponse{page(1, 2), end(2)}},
	)
	client := to(t, &fake{status: server.stays}, pushrpc.WithSilence(time.Second))
	follower := must[*pushrpc.Follower](t)(client.Follow(within(t), &statusRequest{}))
	for range follower.Events() {
		time.Sleep(1200 * time.Millisecond) // the caller may take its time: only the server's silence counts
		break
	}
	if seen := ids(t, follower); !slices.Equal(seen, []string{"1"}) {
		t.Errorf("saw %v", seen)
	}
}

var errStays = errors.New("stays open")

// stays is status, but streams that end with errStays stay open instead.
func (f *following) stays(request *statusRequest, stream statusStream) error {
	if err := f.status(request, stream); err != errStays {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func TestClosingAndCancellingEndTheWait(t *testing.T) {
	client := to(t, &fake{status: follows(script{messages: []*statusResponse{heartbeat(0)}}).status})
	ctx, cancel := context.WithCancel(within(t))
	for name, stop := range map[string]func(*pushrpc.Follower){
		"close":  (*pushrpc.Follower).Close,
		"cancel": func(*pushrpc.Follower) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			following := ctx
			if name == "close" {
				following = within(t)
			}
			follower := must[*pushrpc.Follower](t)(client.Follow(following, &statusRequest{}))
			time.AfterFunc(50*time.Millisecond, func() { stop(follower) })
			for _, err := range follower.Events() {
				if failed(t, err, codes.Canceled); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
}

func TestASlowReaderHoldsTheServerBack(t *testing.T) {
	var pages atomic.Int64
	detail := string(make([]byte, 1024))
	client := to(t, &fake{status: func(_ *statusRequest, stream statusStream) error {
		for at := 0; ; at += 500 {
			response := page(at, at+500)
			for _, event := range response.Events {
				event.ProviderDetail = detail
			}
			if err := stream.Send(response); err != nil {
				return err
			}
			pages.Add(1)
		}
	}})
	follower := must[*pushrpc.Follower](t)(client.Follow(within(t), &statusRequest{}))
	defer follower.Close()
	for told := int64(-1); told != pages.Load(); time.Sleep(200 * time.Millisecond) {
		told = pages.Load() // until the server stands still
	}
	if ahead := pages.Load(); ahead > 8 {
		t.Errorf("%d pages of half a megabyte were read ahead", ahead)
	}
}
