package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// side is a measured process as its callers see it.
type side interface {
	// send is one call for the tokens of these numbers, answered when it returns.
	send(ctx context.Context, call call) error
	// begin returns what waits until this many more pushes are settled, and tells their final states.
	begin() func(ctx context.Context, pushes int64) (states, error)
	close() error
	about() content
}

// states counts pushes by how they ended; a side that does not tell has none.
type states map[string]int64

// call is one request: tokens numbered first up to first+count.
type call struct {
	app      string
	provider string
	first    int64
	count    int64
	label    string
}

// content is what every push says, and to whom.
type content struct {
	apps []string
	// The bundle id, for sides that are told it by their callers.
	topic string
	title string
	body  string
}

// numbers hands out the numbers of tokens; no token is used twice in the life of a rig.
type numbers struct{ next atomic.Int64 }

func (n *numbers) take(count int64) int64 { return n.next.Add(count) - count }

type sent struct {
	Seconds float64 `json:"seconds"`
	Pushes  int64   `json:"pushes"`
	// How many requests the sink answered meanwhile.
	Answered int64  `json:"answered"`
	States   states `json:"states"`
}

func (l load) check() error {
	if l.Calls < 1 || l.Tokens < 1 || l.Callers < 1 {
		return errors.New("calls, tokens and callers must be positive")
	}
	return nil
}

func (l load) call(i, first int64, about content) call {
	app := about.apps[int(i)%len(about.apps)]
	return call{app: app, provider: l.Provider, first: first + i*l.Tokens, count: l.Tokens}
}

// send makes the calls as fast as they are answered, and waits until all pushes are settled.
func (r *rig) send(ctx context.Context, s side, l load) (any, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	first := r.numbers.take(l.Calls * l.Tokens)
	return r.timed(ctx, s, l, func() error { return closedLoop(ctx, s, l, first, "") })
}

func (r *rig) timed(ctx context.Context, s side, l load, work func() error) (sent, error) {
	answered := r.sink.pushes.Load()
	settled := s.begin()
	start := time.Now()
	if err := work(); err != nil {
		return sent{}, err
	}
	pushes := l.Calls * l.Tokens
	ended, err := settled(ctx, pushes)
	if err != nil {
		return sent{}, err
	}
	return sent{time.Since(start).Seconds(), pushes, r.sink.pushes.Load() - answered, ended}, nil
}

func closedLoop(ctx context.Context, s side, l load, first int64, label string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var callers sync.WaitGroup
	for range l.Callers {
		callers.Go(func() {
			for i := next.Add(1) - 1; i < l.Calls; i = next.Add(1) - 1 {
				c := l.call(i, first, s.about())
				c.label = label
				if err := s.send(ctx, c); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	callers.Wait()
	return context.Cause(ctx)
}

type paced struct {
	sent
	// Milliseconds from when a call was due to its answer, and from the sink's answer to the event at the caller.
	Accept quantiles `json:"accept_ms"`
	Event  quantiles `json:"event_ms"`
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// pace makes calls on a schedule, whether or not earlier ones are answered: a slow answer delays no other call, so
// that it cannot hide what the next one would have met.
func (r *rig) pace(ctx context.Context, s side, l load) (any, error) {
	if err := l.check(); err != nil || l.PerS <= 0 {
		return nil, errors.Join(err, errors.New("a rate is needed"))
	}
	total := l.Calls * l.Tokens
	first := r.numbers.take(total)
	record := newRecord(first, total)
	r.sink.record.Store(record)
	defer r.sink.record.Store(nil)
	accepts := make([]float64, l.Calls)
	result, err := r.timed(ctx, s, l, func() error { return openLoop(ctx, s, l, first, accepts) })
	if err != nil {
		return nil, err
	}
	events := make([]float64, 0, total)
	for i := range total {
		answered, heard := record.answered[i].Load(), record.heard[i].Load()
		if answered == 0 || heard == 0 {
			return nil, fmt.Errorf("push %d of %d was never answered or never heard of", i, total)
		}
		events = append(events, float64(heard-answered)/1e6)
	}
	return paced{result, quantilesOf(accepts), quantilesOf(events)}, nil
}

func openLoop(ctx context.Context, s side, l load, first int64, accepts []float64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	start := time.Now()
	var calls sync.WaitGroup
	for i := range l.Calls {
		due := start.Add(time.Duration(float64(i) / l.PerS * float64(time.Second)))
		time.Sleep(time.Until(due))
		calls.Go(func() {
			if err := s.send(ctx, l.call(i, first, s.about())); err != nil {
				cancel(err)
			}
			accepts[i] = float64(time.Since(due)) / 1e6
		})
	}
	calls.Wait()
	return context.Cause(ctx)
}

func quantilesOf(values []float64) quantiles {
	slices.Sort(values)
	at := func(q float64) float64 { return values[int(q*float64(len(values)-1))] }
	return quantiles{at(0.5), at(0.99), at(1)}
}
