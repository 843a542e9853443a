package pushrpc

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

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
	due        bool // filling has waited long enough
}

func (b *Bulk) run() {
	r := &bulkRun{bulk: b, closing: b.closing, filling: &bulkMessage{}, timer: time.NewTimer(fillTime)}
	b.err = r.untilClosed(b.ctx)
	r.fail(b.err)
	close(b.done)
}

// untilClosed is nil when everything was answered before the end.
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
		if ctx.Err() != nil {
			return AsError(ctx.Err())
		}
		if failure == nil || !failure.reopensBulk(spoke) {
			return failure
		}
		if spoke {
			pauses.reset()
		}
		r.bulk.client.sleep(ctx, pauses.next(failure.RetryDelay))
	}
}

// overOneStream sends again what was not answered, then what comes. The error is nil when the bulk was closed and all
// is answered; spoke tells whether the server had answered anything.
func (r *bulkRun) overOneStream(ctx context.Context) (spoke bool, failure *Error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(r.bulk.client.silenceMax, cancel)
	defer watchdog.Stop()
	stream, err := r.bulk.client.stub.SendNotifications(ctx)
	if err != nil {
		return false, r.bulk.client.failure(err)
	}
	answers := receive(ctx, stream.Recv)
	sent := 0 // of those unanswered, on this stream
	for {
		r.pack()
		for ; sent < len(r.unanswered); sent++ {
			if sent == 0 {
				watchdog.Reset(r.bulk.client.silenceMax)
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
				return spoke, r.bulk.client.failure(answers.err)
			}
			if failure := r.settle(response); failure != nil {
				return spoke, failure
			}
			spoke = true
			sent--
			watchdog.Reset(r.bulk.client.silenceMax)
		}
	}
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
}

// reopensBulk reports whether a bulk stream that ended so is worth reopening. spoke tells whether it had told anything:
// what breaks a stream that worked may be a proxy's doing, what refuses one from the start is not.
func (e *Error) reopensBulk(spoke bool) bool {
	if e.Reason != "" {
		return e.Code == codes.Unavailable || e.RetryDelay > 0
	}
	switch e.Code {
	case codes.Unavailable, codes.Aborted, codes.Canceled, codes.DeadlineExceeded:
		return true
	case codes.Internal, codes.Unknown, codes.ResourceExhausted:
		return spoke
	}
	return false
}
