// A foreign HTTP/2 server for the transport tests: Go's own, with windows and stream limits to choose.
//
// A path /<status>/<anything> is answered with that status; 200 has no body, 201 answers 200 with a body, every other
// status has a JSON reason. /shutdown/… answers 200 and starts a graceful shutdown (GOAWAY). Each answer carries the
// length of the body that came, and the request's apns-id. The first line of standard output is the address; the
// server ends with its standard input.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

func main() {
	cert := flag.String("cert", "", "chain file")
	key := flag.String("key", "", "key file")
	streams := flag.Int("streams", 250, "MAX_CONCURRENT_STREAMS")
	window := flag.Int("window", 0, "receive window per stream and connection, 0 for Go's own")
	table := flag.Int("table", 4096, "HEADER_TABLE_SIZE")
	flag.Parse()

	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          *streams,
			MaxReceiveBufferPerStream:     *window,
			MaxReceiveBufferPerConnection: *window,
			MaxDecoderHeaderTableSize:     *table,
		},
	}
	var once sync.Once
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ProtoMajor != 2 || r.Header.Get("Authorization") == "" || int64(len(body)) != r.ContentLength {
			http.Error(w, "not the request that was meant", http.StatusTeapot)
			return
		}
		w.Header().Set("Apns-Id", r.Header.Get("Apns-Id"))
		w.Header().Set("X-Body-Length", strconv.Itoa(len(body)))
		kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		switch status, err := strconv.Atoi(kind); {
		case err != nil:
			once.Do(func() { go server.Shutdown(context.Background()) })
		case status == http.StatusCreated:
			io.WriteString(w, `{"name":"projects/shop/messages/1"}`)
		case status != http.StatusOK:
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"reason":"%s"}`, http.StatusText(status))
		}
	})

	listener, err := tls.Listen("tcp", "127.0.0.1:0", config(*cert, *key))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server.Serve(listener)
	select {} // a graceful shutdown ends Serve while its connections still drain
}

func config(cert, key string) *tls.Config {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		log.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
}
