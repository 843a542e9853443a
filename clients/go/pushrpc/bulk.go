package pushrpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

const (
	// What one message may carry.
	sendsMax   = 500
	targetsMax = 10_000
	// The server takes 4 MiB; what stands around the sends needs far less than the rest.
	sendBytesMax = 4<<20 - 4<<10

	unansweredMax = 4
	fillTime      = 5 * time.Millisecond
)

// Bulk hands over many sends on one stream, grouped into messages. It is safe for concurrent use.
type Bulk struct {
	client  *Client
	ctx     context.Context
	added   chan *Pending
	closing chan struct{}
	close   sync.Once
	done    chan struct{} // closed when nothing will be answered any more
	err     *Error        // why, but for Close; written before done is closed
}

// Bulk starts a bulk that lasts until [Bulk.Close] or the end of ctx. The stream opens with the first send.
//
// A stream that breaks is reopened, as [Client.Follow] does, and so is one that leaves something unanswered for 60 s.
// What was not answered is sent again: the request_id of each makes that safe. When no stream has answered for 20 s
// more, each send that is open fails with code Unavailable, and it is not known whether it was accepted. What the server
// refuses for good, such as Unauthenticated, is the error of each send that is open. In both cases the bulk goes on.
func (c *Client) Bulk(ctx context.Context) *Bulk {
	b := &Bulk{
		client:  c,
		ctx:     ctx,
		added:   make(chan *Pending),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	go b.run()
	return b
}

// Pending is a send that was added to a [Bulk].
type Pending struct {
	request  *pushrpcv1.SendNotificationRequest
	bytes    int
	targets  int
	done     chan struct{}
	response *pushrpcv1.SendNotificationResponse
	err      *Error
}

// RequestID is the key the send goes under.
func (p *Pending) RequestID() string {
	return p.request.RequestId
}

// Done is closed when the receipt, or the error, is there.
func (p *Pending) Done() <-chan struct{} {
	return p.done
}

// Receipt waits for the answer: the receipt, or an [*Error] of this one send.
func (p *Pending) Receipt(ctx context.Context) (*pushrpcv1.SendNotificationResponse, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, p.own(AsError(ctx.Err()))
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.response, nil
}

func (p *Pending) settle(response *pushrpcv1.SendNotificationResponse, failure *Error) {
	p.response, p.err = response, failure
	close(p.done)
}

// fail settles with a failure of the bulk.
func (p *Pending) fail(failure *Error) {
	p.settle(nil, p.own(failure))
}

// own is what failed more than this send, as an error of this one.
func (p *Pending) own(failure *Error) *Error {
	own := *failure
	own.RequestID = p.RequestID()
	return &own
}

// Add takes one send, with a request_id of its own where it has none. It returns as soon as the send has a place in a
// message, and waits for one while the server is slow or away: that is the back-pressure, and what bounds the memory.
// The request must not be changed until its receipt is there. Errors of the send itself come with the receipt; those of
// Add mean that it was not sent, and have its RequestID too.
func (b *Bulk) Add(ctx context.Context, request *pushrpcv1.SendNotificationRequest) (*Pending, error) {
	request = withKey(request, b.client.appID)
	p := &Pending{
		request: request, bytes: proto.Size(request) + 8, targets: targetCount(request.Target),
		done: make(chan struct{}),
	}
	if p.bytes > sendBytesMax {
		return nil, p.own(tooLong(p.bytes, sendBytesMax))
	}
	select {
	case b.added <- p:
		return p, nil
	case <-b.closing:
	case <-b.done:
		if b.err != nil {
			return nil, p.own(b.err)
		}
	case <-ctx.Done():
		return nil, p.own(AsError(ctx.Err()))
	}
	closed := &Error{Code: codes.Canceled, Reason: reasonClosed, Message: "the bulk is closed; make another one"}
	return nil, p.own(closed)
}

// Close sends what was added, waits until all is answered or has failed, and ends the stream. Its error is what ended
// the bulk before that: the end of its context, or [Client.Close]. Errors of sends come with their receipts.
func (b *Bulk) Close() error {
	b.close.Do(func() { close(b.closing) })
	<-b.done
	if b.err != nil {
		return b.err
	}
	return nil
}

func targetCount(target *pushrpcv1.Target) int {
	count := len(target.GetDeviceIds()) + len(target.GetUserIds()) + len(target.GetProviderAudiences())
	for _, group := range target.GetTokens() {
		count += len(group.Tokens) + len(group.Subscriptions)
	}
	return count
}
