// A foreign HTTP/1.1 server for the transport tests: Go's own, over TLS.
//
// A path /<verb>/<anything> says what becomes of the request: `length` and `chunked` answer 200 with its body again,
// `empty` 204, `close` 200 and the end of the connection, `hints` a 103 before the 200, `abort` ends the connection
// without an answer, and a number is the status. /seen answers how many requests there were. Requests that are not as
// they should be are answered 418. The first line of standard output is the port; the server ends with its standard
// input.
package main

import (
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
	"sync/atomic"
)

func main() {
	cert := flag.String("cert", "", "chain file")
	key := flag.String("key", "", "key file")
	flag.Parse()

	var seen atomic.Int64
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0)}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		verb, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if verb == "seen" {
			fmt.Fprint(w, seen.Load())
			return
		}
		seen.Add(1)
		if err != nil || r.ProtoMajor != 1 || len(r.TransferEncoding) > 0 || int64(len(body)) != r.ContentLength ||
			r.Header.Get("Authorization") == "" || r.Header.Get("Expect") != "" || r.Host != "push.test" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		switch verb {
		case "length":
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body)
		case "chunked":
			for _, part := range body {
				w.Write([]byte{part})
				w.(http.Flusher).Flush()
			}
		case "empty":
			w.WriteHeader(http.StatusNoContent)
		case "close":
			w.Header().Set("Connection", "close")
			w.Write(body)
		case "hints":
			w.Header().Set("Link", "</x>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Write(body)
		case "abort":
			panic(http.ErrAbortHandler)
		default:
			status, _ := strconv.Atoi(verb)
			w.WriteHeader(status)
			w.Write(body)
		}
	})

	pair, err := tls.LoadX509KeyPair(*cert, *key)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(server.Serve(listener))
}
