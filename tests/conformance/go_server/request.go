package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"golang.org/x/net/http2"
)

// request is one call of the handler: it waits for its steps and takes them with net/http's own ResponseWriter.
type request struct {
	token  string
	conn   *splice
	stream uint32
	steps  chan order
	over   chan struct{} // the handler has returned

	interims int
	headers  int
	bytes    int
	ended    bool
}

// order is a step and where to say that it was taken.
type order struct {
	verb string
	rest []any
	done chan error
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn := r.Context().Value(connKey{}).(*splice)
	token := path.Base(r.URL.Path)
	conn.mu.Lock()
	stream := conn.streams[token]
	conn.mu.Unlock()
	held := &request{token: token, conn: conn, stream: stream, steps: make(chan order), over: make(chan struct{})}
	defer close(held.over)
	l.add(held)
	if r.Header.Get("Apns-Id") != token || r.Header.Get("Authorization") != "bearer t" {
		conn.tell("broken", map[string]any{"detail": fmt.Sprintf("headers of %s: %v", token, r.Header)})
	}
	conn.tell("began", map[string]any{"token": token, "stream": stream})
	whole := make(chan struct{})
	go func() {
		select {
		case <-l.reading:
		case <-held.over:
			return
		}
		if length, err := io.Copy(io.Discard, r.Body); err == nil {
			conn.tell("whole", map[string]any{"token": token, "length": length})
			close(whole)
		}
	}()
	plan := l.options.Plan
	for {
		var step order
		if len(plan) > 0 {
			select {
			case <-whole:
				step, plan = order{plan[0][0].(string), plan[0][1:], make(chan error, 1)}, plan[1:]
			case <-r.Context().Done():
				return
			}
		} else {
			select {
			case step = <-held.steps:
			case <-r.Context().Done():
				return
			}
		}
		held.take(w, step)
		if held.ended {
			return
		}
	}
}

func (h *request) take(w http.ResponseWriter, step order) {
	flush := http.NewResponseController(w).Flush
	var err error
	switch step.verb {
	case "interim":
		w.Header().Set("X-Token", h.token)
		w.WriteHeader(number(step.rest[0]))
		h.interims++
	case "headers":
		w.Header().Set("X-Token", h.token)
		if len(step.rest) > 2 && number(step.rest[2]) > 0 {
			w.Header().Set("X-Filler", strings.Repeat("f", number(step.rest[2])))
		}
		if h.conn.closing.Load() { // net/http answers this with GOAWAY
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(number(step.rest[0]))
		h.headers++
		if h.ended = step.rest[1].(bool); !h.ended {
			err = flush()
		}
	case "data":
		err = h.data(w, number(step.rest[0]), step.rest[1].(bool))
	case "trailers":
		w.Header().Set(http.TrailerPrefix+"X-Checksum", "7")
		h.ended = true
	case "abort": // net/http answers this panic with RST_STREAM INTERNAL_ERROR
		step.done <- nil
		panic(http.ErrAbortHandler)
	}
	if h.ended {
		h.conn.tell("answered", map[string]any{"token": h.token})
	}
	step.done <- err
}

func (h *request) data(w http.ResponseWriter, size int, end bool) error {
	if size == 0 && !end { // net/http writes no such frame
		h.settle()
		h.conn.inject(func() { h.conn.framer.WriteData(h.stream, false, nil) })
		return nil
	}
	h.ended = end
	h.bytes += size
	if _, err := w.Write(bytes.Repeat([]byte(h.token), size/len(h.token)+1)[:size]); err != nil || end {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// settle waits until what the handler wrote has gone out, for net/http keeps it a moment.
func (h *request) settle() {
	h.conn.wait(h.stream, func(sent *progress) bool {
		return sent.headers >= h.interims+h.headers && sent.bytes >= h.bytes && (sent.ended || !h.ended)
	})
}

func (h *request) reset(code http2.ErrCode) {
	select {
	case <-h.over: // net/http has ended it, with a reset of its own where the body was not read
		return
	default:
	}
	if code == http2.ErrCodeInternal {
		h.send("abort", nil)
		return
	}
	h.settle()
	h.conn.reset(h.stream, code)
	h.send("abort", nil)
}

// send hands a step to the handler and waits until it was taken.
func (h *request) send(verb string, rest []any) error {
	step := order{verb, rest, make(chan error, 1)}
	select {
	case h.steps <- step:
		return <-step.done
	case <-h.over:
		return io.ErrClosedPipe
	}
}
