// A provider that nobody of this project wrote the protocol for: Go's own HTTP/2 server, answering by script.
//
// The first line of standard input is a JSON object {"cert", "key", "answers": {token: [status, ...]}}. Each request
// for a token takes the next of its statuses, the last one repeats, and an unknown token gets 200. The first line of
// standard output is the address; after that one JSON line is printed for every push received. It ends with its input.
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
)

type script struct {
	Cert    string           `json:"cert"`
	Key     string           `json:"key"`
	Answers map[string][]int `json:"answers"`
}

type push struct {
	Provider string `json:"provider"`
	Token    string `json:"token"`
	ID       string `json:"id"`
	Status   int    `json:"status"`
	Proto    string `json:"proto"`
}

type sink struct {
	mu      sync.Mutex
	answers map[string][]int
	out     *json.Encoder
}

func (s *sink) next(provider, token, id, proto string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := http.StatusOK
	if left := s.answers[token]; len(left) > 0 {
		status = left[0]
		if len(left) > 1 {
			s.answers[token] = left[1:]
		}
	}
	if err := s.out.Encode(push{provider, token, id, status, proto}); err != nil {
		log.Fatal(err)
	}
	return status
}

var apnsReasons = map[int]string{410: "Unregistered", 413: "PayloadTooLarge", 429: "TooManyRequests", 503: "ServiceUnavailable"}

func (s *sink) apns(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	token := strings.TrimPrefix(r.URL.Path, "/3/device/")
	status := s.next("apns", token, r.Header.Get("apns-id"), r.Proto)
	w.Header().Set("apns-id", r.Header.Get("apns-id"))
	if status == http.StatusOK {
		return
	}
	w.WriteHeader(status)
	if status == http.StatusGone {
		fmt.Fprint(w, `{"reason":"Unregistered","timestamp":4102444800000}`)
		return
	}
	fmt.Fprintf(w, `{"reason":%q}`, apnsReasons[status])
}

var fcmErrors = map[int][2]string{410: {"NOT_FOUND", "UNREGISTERED"}, 413: {"INVALID_ARGUMENT", "INVALID_ARGUMENT"}, 429: {"RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"}, 503: {"UNAVAILABLE", "UNAVAILABLE"}}

func (s *sink) fcm(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Message struct {
			Token string            `json:"token"`
			Data  map[string]string `json:"data"`
		} `json:"message"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	status := s.next("fcm", body.Message.Token, body.Message.Data["notification_id"], r.Proto)
	w.Header().Set("content-type", "application/json; charset=UTF-8")
	if status == http.StatusOK {
		fmt.Fprintf(w, `{"name":"projects/p/messages/%d"}`, len(body.Message.Token))
		return
	}
	if status == http.StatusTooManyRequests {
		w.Header().Set("retry-after", "1") // without it, FCM asks senders to wait a minute
	}
	w.WriteHeader(status)
	words := fcmErrors[status]
	fmt.Fprintf(w, `{"error":{"code":%d,"status":%q,"details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%q}]}}`, status, words[0], words[1])
}

func main() {
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadBytes('\n')
	if err != nil {
		log.Fatal(err)
	}
	var given script
	if err := json.Unmarshal(line, &given); err != nil {
		log.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(given.Cert, given.Key); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	s := &sink{answers: given.Answers, out: json.NewEncoder(os.Stdout)}
	mux := http.NewServeMux()
	mux.HandleFunc("/3/device/", s.apns)
	mux.HandleFunc("/v1/projects/", s.fcm)
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "application/json")
		fmt.Fprint(w, `{"access_token":"from-go","expires_in":3599,"token_type":"Bearer"}`)
	})
	go func() {
		_, _ = io.Copy(io.Discard, input)
		os.Exit(0)
	}()
	log.Fatal(http.ServeTLS(listener, mux, given.Cert, given.Key))
}
