package pushrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

var errSilent = errors.New("no answer came in time")

// bulkMessage is a group of sends that go, and are answered, together.
type bulkMessage struct {
	sends   []*Pending
	bytes   int
	targets int
	request *pushrpcv1.SendNotificationsRequest
}

func (m *bulkMessage) fits(p *Pending) bool {
	if len(m.sends) == 0 {
		return true // what passes a limit by itself goes alone, and the server says so
	}
	return len(m.sends) < sendsMax && m.targets+p.targets <= targetsMax && m.bytes+p.bytes <= sendBytesMax
}

// bulkRun is the one goroutine that owns what a bulk holds: at most unansweredMax messages that were sent, one that
// fills, and one send that did not fit.
type bulkRun struct {
	bulk       *Bulk
	closing    <-chan struct{} // nil once the bulk is closing
	sequence   int64
	unanswered []*bulkMessage // oldest first
	filling    *bulkMessage
	held       *Pending
	timer      *time.Timer
	due        bool      // filling has waited long enough
	heard      time.Time // of the last answer, or of the first send since there was nothing to answer
}

func (b *Bulk) run() {
	r := &bulkRun{bulk: b, closing: b.closing, filling: &bulkMessage{}, timer: time.NewTimer(fillTime)}
	b.err = r.untilClosed(b.ctx)
	r.fail(b.err)
	close(b.done)
}

// untilClosed is nil when everything was answered, or refused, before the end.
func (r *bulkRun) untilClosed(ctx context.Context) *Error {
	var pauses pauses
	for {
		for r.isIdle() { // no stream is held open for nothing: a server has few
			if r.closing == nil {
				return nil
			}
			select {
			case p := <-r.bulk.added:
				r.put(p)
			case <-r.closing:
				r.closing = nil
			case <-r.bulk.client.closed:
				return clientClosed()
			case <-ctx.Done():
				return AsError(ctx.Err())
			}
		}
		spoke, failure := r.overOneStream(ctx)
		if spoke {
			pauses.reset()
		}
		switch {
		case ctx.Err() != nil:
			return AsError(ctx.Err())
		case failure == nil || failure.Reason == reasonClosed:
			return failure
		case !failure.mayPass():
			r.fail(failure)
		case !r.isIdle():
			r.bulk.client.sleep(ctx, min(pauses.next(failure.RetryDelay), r.left()))
			if r.left() <= 0 {
				r.fail(r.unanswerable(failure))
			}
		}
	}
}

// left is how long an answer may still take, over as many streams as that needs.
func (r *bulkRun) left() time.Duration {
	return time.Until(r.heard.Add(r.bulk.client.silenceMax + r.bulk.client.openingMax))
}

func (r *bulkRun) unanswerable(last *Error) *Error {
	within := r.bulk.client.silenceMax + r.bulk.client.openingMax
	return &Error{Code: codes.Unavailable, Message: fmt.Sprintf("no answer came within %v (%s); "+
		"it is not known whether this was accepted: send it again under its request_id", within, last.Message)}
}

// overOneStream sends again what was not answered, then what comes. The error is nil when the bulk was closed and all
// is answered; spoke tells whether the server had answered anything.
func (r *bulkRun) overOneStream(ctx context.Context) (spoke bool, failure *Error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(r.patience(), func() { cancel(errSilent) })
	defer watchdog.Stop()
	stream, err := r.bulk.client.stub.SendNotifications(ctx)
	if err != nil {
		return false, r.broken(ctx, err)
	}
	answers := receive(ctx, stream.Recv)
	sent := 0 // of those unanswered, on this stream
	for {
		r.pack()
		for ; sent < len(r.unanswered); sent++ {
			if sent == 0 {
				watchdog.Reset(r.patience())
			}
			if stream.Send(r.unanswered[sent].request) != nil {
				break // the stream has ended; why is told where its answers come from
			}
		}
		if sent == 0 {
			watchdog.Stop() // nothing is awaited
		}
		if r.closing == nil && r.isIdle() {
			stream.CloseSend()
			<-answers.messages // the end of the stream: all is answered already
			return spoke, nil
		}
		select {
		case p := <-r.accepting():
			r.put(p)
		case <-r.timer.C:
			r.due = true
		case <-r.closing:
			r.closing = nil
		case response, ok := <-answers.messages:
			if !ok {
				return spoke, r.broken(ctx, answers.err)
			}
			if failure := r.settle(response); failure != nil {
				return spoke, failure
			}
			spoke = true
			sent--
			watchdog.Reset(r.patience())
		}
	}
}

// patience is how long one stream may leave something unanswered.
func (r *bulkRun) patience() time.Duration {
	return min(r.bulk.client.silenceMax, r.left())
}

// broken is why a stream ended.
func (r *bulkRun) broken(ctx context.Context, err error) *Error {
	if context.Cause(ctx) == errSilent {
		return &Error{Code: codes.Unavailable, Message: errSilent.Error()}
	}
	return r.bulk.client.failure(err)
}

// answers come from a goroutine beside the one that sends, so that neither direction waits for the other.
type answers struct {
	messages chan *pushrpcv1.SendNotificationsResponse // closed when the stream has ended
	err      error                                     // why, then
}

func receive(
	ctx context.Context, next func() (*pushrpcv1.SendNotificationsResponse, error),
) *answers {
	a := &answers{messages: make(chan *pushrpcv1.SendNotificationsResponse, unansweredMax)}
	go func() {
		defer close(a.messages)
		for {
			response, err := next()
			if err == io.EOF {
				err = status.Error(codes.Unavailable, "the server ended the stream")
			}
			if a.err = err; err != nil {
				return
			}
			select {
			case a.messages <- response:
			case <-ctx.Done(): // nobody asked for that many
				a.err = ctx.Err()
				return
			}
		}
	}()
	return a
}

func (r *bulkRun) isIdle() bool {
	return len(r.unanswered) == 0 && len(r.filling.sends) == 0
}

// accepting is where sends come from while there is a place for one.
func (r *bulkRun) accepting() <-chan *Pending {
	if r.closing == nil || r.held != nil || len(r.filling.sends) == sendsMax {
		return nil
	}
	return r.bulk.added
}

func (r *bulkRun) put(p *Pending) {
	if r.isIdle() {
		r.heard = time.Now()
	}
	if !r.filling.fits(p) {
		r.held = p
		return
	}
	if len(r.filling.sends) == 0 {
		r.timer.Reset(fillTime)
	}
	r.filling.sends = append(r.filling.sends, p)
	r.filling.bytes += p.bytes
	r.filling.targets += p.targets
}

// pack makes messages of what is full, has waited, or is the last, as long as there may be more unanswered ones.
func (r *bulkRun) pack() {
	for len(r.filling.sends) > 0 && len(r.unanswered) < unansweredMax {
		full := r.held != nil || len(r.filling.sends) == sendsMax
		if !full && !r.due && r.closing != nil {
			return
		}
		r.sequence++
		request := &pushrpcv1.SendNotificationsRequest{AppId: r.bulk.client.appID, Sequence: r.sequence}
		for _, p := range r.filling.sends {
			request.Sends = append(request.Sends, p.request)
		}
		r.filling.request = request
		r.unanswered = append(r.unanswered, r.filling)
		r.filling, r.due = &bulkMessage{}, false
		r.timer.Stop()
		if p := r.held; p != nil {
			r.held = nil
			r.put(p)
		}
	}
}

// settle gives the oldest message's receipts to those who added its sends. Fails when the answer is not that message's.
func (r *bulkRun) settle(response *pushrpcv1.SendNotificationsResponse) *Error {
	if len(r.unanswered) == 0 || response.Sequence != r.unanswered[0].request.Sequence ||
		len(response.Receipts) != len(r.unanswered[0].sends) {
		return &Error{Code: codes.DataLoss, Message: "an answer matches no message that was sent"}
	}
	r.heard = time.Now()
	sends := r.unanswered[0].sends
	r.unanswered = r.unanswered[1:]
	for position, receipt := range response.Receipts {
		if accepted := receipt.GetAccepted(); accepted != nil {
			sends[position].settle(accepted, nil)
		} else {
			sends[position].settle(nil, sendFailure(sends[position].RequestID(), receipt.GetError()))
		}
	}
	return nil
}

// fail settles everything that is left.
func (r *bulkRun) fail(failure *Error) {
	for _, message := range append(r.unanswered, r.filling) {
		for _, p := range message.sends {
			p.fail(failure)
		}
	}
	if r.held != nil {
		r.held.fail(failure)
	}
	r.unanswered, r.filling, r.held, r.due = nil, &bulkMessage{}, nil, false
	r.timer.Stop()
}
