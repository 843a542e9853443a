// A provider that is as slow as it is told, on Go's own HTTP/2 server, and that counts what it was asked.
//
// Standard input is one JSON object a line. The first is {"cert", "key", "streams", "delay_ms"}: how many requests a
// connection may have open, and how long each waits for its answer. Every further one may set a new "delay_ms", which
// counts at once for those that wait already, and is answered with a report. Standard output is the address, then one
// report a line. It ends with its input.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

type order struct {
	Cert    string `json:"cert"`
	Key     string `json:"key"`
	Streams int    `json:"streams"`
	DelayMs *int   `json:"delay_ms"`
}

type report struct {
	Connections int   `json:"connections"` // ever made
	Received    int   `json:"received"`
	Open        int   `json:"open"`
	OpenMax     int   `json:"open_max"`
	Answered    int   `json:"answered"`
	Tokens      int   `json:"tokens"`  // different ones that were answered
	LastUs      int64 `json:"last_us"` // when the newest request came
}

type sink struct {
	mu      sync.Mutex
	delay   time.Duration
	changed chan struct{}
	told    report
	tokens  map[string]struct{}
}

func (s *sink) set(delayMs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = time.Duration(delayMs) * time.Millisecond
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait returns when the answer is due; false when nobody waits for it any more.
func (s *sink) wait(r *http.Request) bool {
	began := time.Now()
	for {
		s.mu.Lock()
		left, changed := s.delay-time.Since(began), s.changed
		s.mu.Unlock()
		if left <= 0 {
			return r.Context().Err() == nil
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
		case <-r.Context().Done():
		}
		timer.Stop()
		if r.Context().Err() != nil {
			return false
		}
	}
}

// exchange counts a request from its arrival to its answer.
func (s *sink) exchange(token string, r *http.Request, answer func()) {
	s.mu.Lock()
	s.told.Received++
	s.told.Open++
	s.told.OpenMax = max(s.told.OpenMax, s.told.Open)
	s.told.LastUs = time.Now().UnixMicro()
	s.mu.Unlock()
	answered := s.wait(r)
	s.mu.Lock()
	s.told.Open--
	if answered {
		s.told.Answered++
		s.tokens[token] = struct{}{}
	}
	s.mu.Unlock()
	if answered {
		answer()
	}
}

func (s *sink) apns(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.exchange(strings.TrimPrefix(r.URL.Path, "/3/device/"), r, func() {
		w.Header().Set("apns-id", r.Header.Get("apns-id"))
	})
}

func (s *sink) fcm(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Message struct {
			Token string `json:"token"`
		} `json:"message"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.exchange(body.Message.Token, r, func() {
		w.Header().Set("content-type", "application/json; charset=UTF-8")
		fmt.Fprint(w, `{"name":"projects/p/messages/1"}`)
	})
}

func (s *sink) report() report {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told.Tokens = len(s.tokens)
	return s.told
}

func (s *sink) obey(input *json.Decoder) {
	out := json.NewEncoder(os.Stdout)
	for {
		var next order
		if input.Decode(&next) != nil {
			os.Exit(0)
		}
		if next.DelayMs != nil {
			s.set(*next.DelayMs)
		}
		if err := out.Encode(s.report()); err != nil {
			log.Fatal(err)
		}
	}
}

func main() {
	input := json.NewDecoder(bufio.NewReader(os.Stdin))
	var first order
	if err := input.Decode(&first); err != nil {
		log.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(first.Cert, first.Key)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := &sink{changed: make(chan struct{}), tokens: make(map[string]struct{})}
	if first.DelayMs != nil {
		s.set(*first.DelayMs)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/3/device/", s.apns)
	mux.HandleFunc("/v1/projects/", s.fcm)
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "application/json")
		fmt.Fprint(w, `{"access_token":"from-go","expires_in":3599,"token_type":"Bearer"}`)
	})
	server := &http.Server{
		Handler:   mux,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: first.Streams},
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.mu.Lock()
				s.told.Connections++
				s.mu.Unlock()
			}
		},
	}
	fmt.Println(listener.Addr())
	go s.obey(input)
	log.Fatal(server.ServeTLS(listener, "", ""))
}
