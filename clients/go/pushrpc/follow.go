package pushrpc

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

var errNotOpened = errors.New("no stream has begun in time")

// Follower tells every change of deliveries, one event after the other, across reconnects and restarts of the
// server. It is for one goroutine; only Cursor and Close may be called from others.
type Follower struct {
	client  *Client
	ctx     context.Context
	cancel  context.CancelCauseFunc
	request *pushrpcv1.StreamDeliveryStatusRequest // its cursor is where the next stream begins
	pauses  pauses
	pause   time.Duration // before the next stream

	stream *statusStream
	page   []*pushrpcv1.DeliveryEvent // what is left of it
	cursor atomic.Pointer[string]
	end    *pushrpcv1.StreamEnd
	err    error
}

// Follow opens a stream of what becomes of notifications: those named by notification_ids or request_ids, or, with
// neither, all of the app. It returns when the server has begun, so that whatever happens from then on is told. A
// cursor is where it goes on; start is used only without one.
//
// When no stream has begun within 20 s, the last failure is the error, or one of code Unavailable where the server was
// silent all the time. Once begun, the stream comes back by itself for ever, from where it was; an outage shows only as
// silence. What ends it, also here, is the end of ctx, [Client.Close], and what asking again cannot mend:
// InvalidArgument, NotFound, OutOfRange, AlreadyExists, FailedPrecondition, Unimplemented, Unauthenticated,
// PermissionDenied. Reading slowly holds the server back; no more than some pages are read ahead.
// Callers who stop before the end call [Follower.Close], or cancel ctx.
func (c *Client) Follow(ctx context.Context, request *pushrpcv1.StreamDeliveryStatusRequest) (*Follower, error) {
	f := &Follower{client: c, request: shallow(withAppID(request, c.appID))}
	if f.request.Cursor != "" {
		f.request.Start = pushrpcv1.StreamStart_STREAM_START_UNSPECIFIED // the server refuses both
	}
	f.passed()
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	opening := time.AfterFunc(c.openingMax, func() { f.cancel(errNotOpened) })
	err := f.receive()
	if !opening.Stop() && err == nil && f.end == nil {
		err = f.stopped(nil)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Events yields what happens until the server says that nothing follows: when all named notifications are final, or,
// with until_caught_up, when all there is was told. An error, always an [*Error], is the last it yields: a final
// refusal such as CURSOR_EXPIRED, or the end of ctx. Ranging again goes on after the last event.
func (f *Follower) Events() iter.Seq2[*pushrpcv1.DeliveryEvent, error] {
	return func(yield func(*pushrpcv1.DeliveryEvent, error) bool) {
		for {
			for len(f.page) > 0 {
				event := f.page[0]
				f.page = f.page[1:]
				if len(f.page) == 0 {
					f.passed()
				}
				if !yield(event, nil) {
					return
				}
			}
			if f.end != nil {
				return
			}
			if err := f.receive(); err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// Cursor is where a later [Client.Follow] goes on: everything up to it has been yielded. It moves with the last event
// of every page, and while nothing happens; store it once the event at hand is dealt with. From an older cursor events
// are told again, none is left out.
func (f *Follower) Cursor() string {
	return *f.cursor.Load()
}

// End has the counts of the named notifications once the stream has ended; until then it is nil.
func (f *Follower) End() *pushrpcv1.StreamEnd {
	return f.end
}

// Close lets go of the stream. Ranging over Events then ends with an error of code Canceled.
func (f *Follower) Close() {
	f.cancel(context.Canceled)
}

// receive waits for the next message, over as many streams as it takes.
func (f *Follower) receive() error {
	var last *Error
	for f.err == nil {
		if f.ctx.Err() != nil {
			f.err = f.stopped(last)
			break
		}
		if f.stream == nil {
			if !f.client.sleep(f.ctx, f.pause) && f.ctx.Err() != nil {
				continue
			}
			f.stream = f.client.openStatusStream(f.ctx, f.request)
		}
		response, err := f.stream.next()
		if err == nil {
			f.take(response)
			return nil
		}
		failure := f.client.failure(err)
		f.leave()
		switch {
		case f.ctx.Err() != nil: // the failure is our own doing
		case failure.mayPass():
			last = failure
			f.pause = f.pauses.next(failure.RetryDelay)
		default:
			f.err = failure
		}
	}
	f.Close()
	return f.err
}

func (f *Follower) take(response *pushrpcv1.StreamDeliveryStatusResponse) {
	f.pauses.reset()
	f.page = response.Events
	f.request.Cursor = response.Cursor
	f.request.Start = pushrpcv1.StreamStart_STREAM_START_UNSPECIFIED // a cursor excludes it
	if len(f.page) == 0 {
		f.passed()
	}
	if leaves := response.GetReconnect(); leaves != nil {
		f.leave()
		f.pause = leaves.Delay.AsDuration()
	}
	if end := response.GetEnd(); end != nil {
		f.end = end
		f.leave()
		f.Close()
	}
}

// passed makes the position of the stream the caller's.
func (f *Follower) passed() {
	cursor := f.request.Cursor
	f.cursor.Store(&cursor)
}

// stopped is why ctx is done; last is the failure before that, if there was one.
func (f *Follower) stopped(last *Error) *Error {
	if context.Cause(f.ctx) != errNotOpened {
		return AsError(f.ctx.Err())
	}
	if last != nil {
		return last
	}
	return &Error{Code: codes.Unavailable, Message: errNotOpened.Error()}
}

func (f *Follower) leave() {
	f.stream.cancel()
	f.stream = nil
}

// statusStream is one stream of perhaps many.
type statusStream struct {
	messages   grpc.ServerStreamingClient[pushrpcv1.StreamDeliveryStatusResponse]
	err        error
	cancel     context.CancelFunc
	watchdog   *time.Timer // cancels a stream on which a message was waited for too long
	silenceMax time.Duration
}

func (c *Client) openStatusStream(ctx context.Context, request *pushrpcv1.StreamDeliveryStatusRequest) *statusStream {
	ctx, cancel := context.WithCancel(ctx)
	stream := &statusStream{
		cancel: cancel, silenceMax: c.silenceMax, watchdog: time.AfterFunc(c.silenceMax, cancel),
	}
	stream.messages, stream.err = c.stub.StreamDeliveryStatus(ctx, request)
	return stream
}

func (s *statusStream) next() (*pushrpcv1.StreamDeliveryStatusResponse, error) {
	if s.err != nil {
		return nil, s.err
	}
	s.watchdog.Reset(s.silenceMax)
	response, err := s.messages.Recv()
	s.watchdog.Stop()
	if err == io.EOF {
		return nil, status.Error(codes.Unavailable, "the stream ended without saying why")
	}
	return response, err
}
