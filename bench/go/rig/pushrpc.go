package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	service       = "/pushrpc.v1.PushService/"
	sendsPerBulk  = 500
	answersMaxLen = 16 << 20
)

// Numbers of pushrpc.v1's enums.
var providers = map[string]uint64{"apns": 1, "fcm": 2}
var stateNames = [10]string{"", "queued", "in_flight", "sent", "rejected", "unregistered", "expired", "cancelled", "suppressed", "failed"}

// Callers write and read the wire format themselves: what they would spend on messages is taken from the same two
// cores that the measured process runs on.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (rawCodec) Name() string { return "proto" }

func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(answersMaxLen)))
}

// pushrpc is our server with a follower of each app; a push is settled when its final event has arrived.
type pushrpc struct {
	echo
	sink   *sink
	stop   context.CancelFunc
	finals atomic.Int64
	states [len(stateNames)]atomic.Int64
	moved  chan struct{}
	failed chan error
}

func dialPushrpc(ctx context.Context, target string, about content, to *sink) (*pushrpc, error) {
	c, err := dial(target)
	if err != nil {
		return nil, err
	}
	following, stop := context.WithCancel(context.Background())
	p := &pushrpc{echo: echo{c, about}, sink: to, stop: stop, moved: make(chan struct{}, 1), failed: make(chan error, len(about.apps))}
	var ready sync.WaitGroup
	for _, app := range about.apps {
		ready.Add(1)
		go func() {
			if err := p.follow(following, app, sync.OnceFunc(ready.Done)); following.Err() == nil {
				p.failed <- err
			}
		}()
	}
	all := make(chan struct{})
	go func() { ready.Wait(); close(all) }()
	select {
	case <-all:
		return p, nil
	case err := <-p.failed:
		stop()
		return nil, err
	case <-ctx.Done():
		stop()
		return nil, ctx.Err()
	}
}

func (p *pushrpc) close() error {
	p.stop()
	return p.echo.close()
}

// follow reads an app's events until the context ends; the first heartbeat says that the server is telling.
func (p *pushrpc) follow(ctx context.Context, app string, ready func()) error {
	request := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), app)
	request = protowire.AppendVarint(protowire.AppendTag(request, 6, protowire.VarintType), 1) // start now
	stream, err := p.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, service+"StreamDeliveryStatus")
	if err != nil {
		return err
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return err
	}
	for {
		var page []byte
		if err := stream.RecvMsg(&page); err != nil {
			return err
		}
		if err := p.read(page, ready); err != nil {
			return err
		}
	}
}

func (p *pushrpc) read(page []byte, ready func()) error {
	var finals int64
	record := p.sink.record.Load()
	err := fields(page, func(number protowire.Number, _ uint64, value []byte) error {
		switch number {
		case 1: // an event
			var isFinal, state uint64
			var token []byte
			err := fields(value, func(number protowire.Number, scalar uint64, value []byte) error {
				switch number {
				case 5:
					token = value
				case 7:
					state = scalar
				case 17:
					isFinal = scalar
				}
				return nil
			})
			if err != nil || isFinal == 0 {
				return err
			}
			finals++
			p.states[state].Add(1)
			if record != nil {
				record.mark(record.heard, numberOf(token))
			}
		case 3:
			ready()
		case 5:
			return errors.New("the server asks to reconnect: a follower's age is for longer than a benchmark")
		}
		return nil
	})
	if finals > 0 {
		p.finals.Add(finals)
		select {
		case p.moved <- struct{}{}:
		default:
		}
	}
	return err
}

func (p *pushrpc) begin() func(context.Context, int64) (states, error) {
	finals := p.finals.Load()
	var before [len(stateNames)]int64
	for i := range before {
		before[i] = p.states[i].Load()
	}
	return func(ctx context.Context, pushes int64) (states, error) {
		for p.finals.Load() < finals+pushes {
			select {
			case <-p.moved:
			case err := <-p.failed:
				return nil, err
			case <-ctx.Done():
				return nil, fmt.Errorf("%d of %d events: %w", p.finals.Load()-finals, pushes, ctx.Err())
			}
		}
		ended := states{}
		for i, name := range stateNames {
			if n := p.states[i].Load() - before[i]; n > 0 {
				ended[name] = n
			}
		}
		return ended, nil
	}
}

// bulk streams single-token sends, each with its own body, and waits until all pushes are settled.
func (r *rig) bulk(ctx context.Context, s side, l load) (any, error) {
	p, ok := s.(*pushrpc)
	if err := l.check(); err != nil || !ok || l.Tokens != 1 {
		return nil, errors.Join(err, errors.New("bulk streams are pushrpc's, of one token a send"))
	}
	first := r.numbers.take(l.Calls)
	return r.timed(ctx, s, l, func() error { return p.stream(ctx, l, first) })
}

func (p *pushrpc) stream(ctx context.Context, l load, first int64) error {
	stream, err := p.connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, service+"SendNotifications")
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		for at := int64(0); at < l.Calls; at += sendsPerBulk {
			message := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), p.content.apps[0])
			message = protowire.AppendVarint(protowire.AppendTag(message, 2, protowire.VarintType), uint64(at/sendsPerBulk+1))
			for i := at; i < min(at+sendsPerBulk, l.Calls); i++ {
				c := l.call(i, first, p.content)
				c.app = ""
				message = appendMessage(message, 5, sendRequest(c, p.content))
			}
			if err := stream.SendMsg(message); err != nil {
				failed <- err
				return
			}
		}
		failed <- stream.CloseSend()
	}()
	for receipts := int64(0); receipts < l.Calls; {
		var answer []byte
		if err := stream.RecvMsg(&answer); err != nil {
			return err
		}
		n, err := accepted(answer)
		if err != nil {
			return err
		}
		receipts += n
	}
	return <-failed
}

// accepted counts a bulk answer's receipts; one that is an error fails the run.
func accepted(answer []byte) (receipts int64, err error) {
	err = fields(answer, func(number protowire.Number, _ uint64, receipt []byte) error {
		if number != 2 {
			return nil
		}
		receipts++
		return fields(receipt, func(number protowire.Number, _ uint64, value []byte) error {
			if number == 3 {
				return fmt.Errorf("a send was refused: %q", value)
			}
			return nil
		})
	})
	return receipts, err
}

type cancelled struct {
	sent
	// Milliseconds the cancel took, and from asking for it to the start of the last provider call (negative: before).
	CancelMs    float64 `json:"cancel_ms"`
	LastStartMs float64 `json:"last_start_ms"`
}

// cancel accepts everything under one label, cancels it by that label, and waits until every push has ended.
func (r *rig) cancel(ctx context.Context, s side, l load) (any, error) {
	p, ok := s.(*pushrpc)
	if err := l.check(); err != nil || !ok {
		return nil, errors.Join(err, errors.New("only pushrpc cancels"))
	}
	first := r.numbers.take(l.Calls * l.Tokens)
	record := newRecord(first, 0)
	r.sink.record.Store(record)
	defer r.sink.record.Store(nil)
	label := fmt.Sprintf("run-%d", first)
	var result cancelled
	var asked int64
	timed, err := r.timed(ctx, s, l, func() error {
		if err := closedLoop(ctx, s, l, first, label); err != nil {
			return err
		}
		start := time.Now()
		asked = record.now()
		for _, app := range p.content.apps {
			request := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), app)
			request = appendLabel(request, 4, label)
			var answer []byte
			if err := p.connection.Invoke(ctx, service+"CancelNotification", request, &answer); err != nil {
				return err
			}
		}
		result.CancelMs = float64(time.Since(start)) / 1e6
		return nil
	})
	result.sent = timed
	result.LastStartMs = float64(record.lastStart.Load()-asked) / 1e6
	return result, err
}
