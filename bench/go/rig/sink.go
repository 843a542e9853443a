package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What Apple's production hosts announce once a provider token was accepted.
const streamsMax = 1000

// sink answers as APNs, FCM and Google's token endpoint do, with as little work per request as net/http allows.
type sink struct {
	pushes atomic.Int64
	// Nanoseconds before each answer; 0 answers at once.
	latency atomic.Int64
	// Non-nil while answers are recorded.
	record atomic.Pointer[record]
	direct chan net.Conn
}

// record says when each numbered push was answered and heard of, in nanoseconds since base; 0 is not yet.
type record struct {
	base     time.Time
	first    int64
	answered []atomic.Int64
	heard    []atomic.Int64
	// When the last push arrived here.
	lastStart atomic.Int64
}

func newRecord(first, count int64) *record {
	return &record{base: time.Now(), first: first, answered: make([]atomic.Int64, count), heard: make([]atomic.Int64, count)}
}

func (r *record) now() int64 { return int64(time.Since(r.base)) }

func (r *record) mark(times []atomic.Int64, number int64) {
	if i := number - r.first; i >= 0 && i < int64(len(times)) {
		times[i].Store(r.now())
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var number int64 = -1
	record := s.record.Load()
	if record != nil {
		record.lastStart.Store(record.now())
	}
	header := w.Header()
	header["Date"] = nil
	switch token, isAPNs := strings.CutPrefix(r.URL.Path, "/3/device/"); {
	case isAPNs:
		discard(r.Body)
		header["Apns-Id"] = r.Header["Apns-Id"]
		number = apnsNumber(token)
	case strings.HasPrefix(r.URL.Path, "/v1/projects/"):
		number = readFCM(r.Body, record != nil)
		header["Content-Type"] = []string{"application/json; charset=UTF-8"}
	default: // the token endpoint
		discard(r.Body)
		header["Content-Type"] = []string{"application/json"}
		_, _ = io.WriteString(w, `{"access_token":"for-the-bench","expires_in":3599,"token_type":"Bearer"}`)
		return
	}
	if latency := s.latency.Load(); latency > 0 {
		time.Sleep(time.Duration(latency))
	}
	id := s.pushes.Add(1)
	if record != nil {
		record.mark(record.answered, number)
	}
	if header["Content-Type"] != nil {
		_, _ = w.Write(fmt.Appendf(nil, `{"name":"projects/bench/messages/%d"}`, id))
	}
}

func discard(body io.Reader) {
	var block [1024]byte
	for {
		if _, err := body.Read(block[:]); err != nil {
			return
		}
	}
}

func apnsNumber(token string) int64 {
	number, err := strconv.ParseInt(token[max(0, len(token)-15):], 16, 64)
	if err != nil {
		return -1
	}
	return number
}

// readFCM reads the whole body; only a recorded push needs its token's number.
func readFCM(body io.Reader, recorded bool) int64 {
	if !recorded {
		discard(body)
		return -1
	}
	content, _ := io.ReadAll(body)
	_, rest, found := bytes.Cut(content, []byte(`"token":"`))
	if !found {
		return -1
	}
	return numberOf(rest)
}

// serve starts the sink. It returns the HTTPS address and that of a proxy which leads every CONNECT here, for senders
// whose provider hosts are constants. The proxy hands the connection itself over, so it costs nothing per byte.
func (s *sink) serve(certFile string) (address, proxy string, err error) {
	certificate, err := tls.LoadX509KeyPair(certFile, certFile)
	if err != nil {
		return "", "", err
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	tunnels, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	s.direct = make(chan net.Conn)
	server := &http.Server{
		Handler:   s,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: streamsMax},
		ErrorLog:  log.New(io.Discard, "", 0), // connections end with their senders
	}
	go accept(plain, func(c net.Conn) { s.direct <- c })
	go accept(tunnels, s.connect)
	go func() { log.Fatal(server.ServeTLS(handed{plain, s.direct}, "", "")) }()
	return plain.Addr().String(), tunnels.Addr().String(), nil
}

func accept(listener net.Listener, take func(net.Conn)) {
	for {
		c, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go take(c)
	}
}

// connect answers one CONNECT (RFC 9110, 9.3.6). The sender's TLS waits for the answer, so nothing is read ahead.
func (s *sink) connect(c net.Conn) {
	request, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil || request.Method != http.MethodConnect {
		_ = c.Close()
		return
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = c.Close()
		return
	}
	s.direct <- c
}

// handed is a listener of connections that came by any way.
type handed struct {
	net.Listener
	connections chan net.Conn
}

func (h handed) Accept() (net.Conn, error) { return <-h.connections, nil }
