// Command rig is everything around a measured process: the provider that it sends to, and its callers.
//
// It is told what to do by lines of JSON on standard input, one at a time, and answers each with a line. It ends with
// its input. Sink and callers share one process so that they share one clock.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"time"
)

// No command of a benchmark takes longer; one that does has lost something.
const commandTimeout = 5 * time.Minute

// A line with a hundred apps is far below this.
const lineBytesMax = 1 << 20

// The rig makes garbage by the request and keeps next to nothing: collecting it seldom leaves the two cores to what is
// measured.
const gcPercent = 1600

type command struct {
	Op string `json:"op"`
	// Which side, for all ops but "count" and "sink".
	Side string `json:"side"`

	// Op "connect".
	Kind   string   `json:"kind"`
	Target string   `json:"target"`
	Apps   []string `json:"apps"`
	Title  string   `json:"title"`
	Body   string   `json:"body"`
	Topic  string   `json:"topic"`

	load

	// Op "sink".
	LatencyMs float64 `json:"latency_ms"`
}

// load is what callers do: `Calls` calls of `Tokens` new tokens each, by `Callers` at once or, with a rate, on time.
type load struct {
	Provider string  `json:"provider"`
	Calls    int64   `json:"calls"`
	Tokens   int64   `json:"tokens"`
	Callers  int     `json:"callers"`
	PerS     float64 `json:"per_s"`
}

type rig struct {
	sink    sink
	sides   map[string]side
	numbers numbers
}

func main() {
	certFile := flag.String("cert", "", "certificate and key of the sink, PEM")
	flag.Parse()
	debug.SetGCPercent(gcPercent)
	r := &rig{sides: map[string]side{}}
	address, proxy, err := r.sink.serve(*certFile)
	if err != nil {
		log.Fatal(err)
	}
	answer(map[string]any{"address": address, "proxy": proxy})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			log.Fatal(err)
		}
		result, err := r.do(c)
		if err != nil {
			result = map[string]any{"error": err.Error()}
		}
		answer(result)
	}
}

func answer(result any) {
	line, err := json.Marshal(result)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}

func (r *rig) do(c command) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	switch c.Op {
	case "count":
		return map[string]any{"pushes": r.sink.pushes.Load()}, nil
	case "sink":
		r.sink.latency.Store(int64(c.LatencyMs * float64(time.Millisecond)))
		return map[string]any{}, nil
	case "connect":
		return r.connect(ctx, c)
	}
	s, known := r.sides[c.Side]
	if !known {
		return nil, fmt.Errorf("no side %q", c.Side)
	}
	switch c.Op {
	case "close":
		delete(r.sides, c.Side)
		return map[string]any{}, s.close()
	case "send":
		return r.send(ctx, s, c.load)
	case "bulk":
		return r.bulk(ctx, s, c.load)
	case "pace":
		return r.pace(ctx, s, c.load)
	case "cancel":
		return r.cancel(ctx, s, c.load)
	}
	return nil, fmt.Errorf("no op %q", c.Op)
}

func (r *rig) connect(ctx context.Context, c command) (any, error) {
	if len(c.Apps) == 0 {
		return nil, errors.New("no app")
	}
	about := content{apps: c.Apps, topic: c.Topic, title: c.Title, body: c.Body}
	var s side
	var err error
	switch c.Kind {
	case "pushrpc":
		s, err = dialPushrpc(ctx, c.Target, about, &r.sink)
	case "echo":
		s, err = dialEcho(c.Target, about)
	case "gorush-rest":
		s = dialGorushREST(c.Target, about)
	case "gorush-grpc":
		s, err = dialGorushGRPC(c.Target, about, &r.sink)
	default:
		err = fmt.Errorf("no kind %q", c.Kind)
	}
	if err != nil {
		return nil, err
	}
	r.sides[c.Side] = s
	return map[string]any{}, nil
}
