// Go's net/http as a server that does what it is told; tests/conformance/servers.py says in which language.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"

	"golang.org/x/net/http2"
)

type options struct {
	ID               int            `json:"id"`
	Do               string         `json:"do"`
	Listener         int            `json:"listener"`
	Cert             string         `json:"cert"`
	Key              string         `json:"key"`
	ALPN             []string       `json:"alpn"`
	Stalls           bool           `json:"stalls"`
	Settings         map[string]int `json:"settings"`
	Plan             [][]any        `json:"plan"`
	Reads            bool           `json:"reads"`
	Padded           bool           `json:"padded"`
	ConnectionWindow int            `json:"connection_window"`
	Steps            [][]any        `json:"steps"`
}

type connKey struct{}

type listener struct {
	options  options
	net      net.Listener
	server   *http.Server
	reading  chan struct{} // closed when bodies may be read
	mu       sync.Mutex
	conns    []*splice
	plain    []net.Conn
	requests map[string]*request
}

var speech sync.Mutex

func say(line map[string]any) {
	text, _ := json.Marshal(line)
	speech.Lock()
	defer speech.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

func number(value any) int { return int(value.(float64)) }

func listen(o options) (*listener, error) {
	l := &listener{options: o, reading: make(chan struct{}), requests: map[string]*request{}}
	if o.Reads {
		close(l.reading)
	}
	var err error
	if l.net, err = net.Listen("tcp", "127.0.0.1:0"); err != nil || o.Stalls {
		return l, err
	}
	pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: o.ALPN}
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true) // TLS ends in front of the splice
	l.server = &http.Server{
		ErrorLog:  log.New(io.Discard, "", 0),
		Handler:   l,
		Protocols: protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          o.setting(http2.SettingMaxConcurrentStreams, 1000),
			MaxDecoderHeaderTableSize:     o.setting(http2.SettingHeaderTableSize, 4096),
			MaxReadFrameSize:              o.setting(http2.SettingMaxFrameSize, 16384),
			MaxReceiveBufferPerStream:     o.setting(http2.SettingInitialWindowSize, windowDefault),
			MaxReceiveBufferPerConnection: o.ConnectionWindow,
		},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
	go l.server.Serve(&wrapping{l.net, l, config})
	return l, nil
}

func (o options) setting(id http2.SettingID, usual int) int {
	if value, ok := o.Settings[strconv.Itoa(int(id))]; ok {
		return value
	}
	return usual
}

// wrapping puts TLS and a splice around what it accepts.
type wrapping struct {
	net.Listener
	listener *listener
	config   *tls.Config
}

func (w *wrapping) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l := w.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	number := len(l.conns) + 1
	tell := func(event string, fields map[string]any) {
		line := map[string]any{"listener": l.options.Listener, "event": event, "connection": number}
		for key, value := range fields {
			line[key] = value
		}
		say(line)
	}
	spliced := newSplice(tls.Server(conn, w.config), number, l.options.Padded, tell)
	l.conns = append(l.conns, spliced)
	l.plain = append(l.plain, conn)
	tell("opened", nil)
	return spliced, nil
}

func (l *listener) add(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests[r.token] = r
}

func (l *listener) step(step []any) error {
	verb, rest := step[0].(string), step[2:]
	l.mu.Lock()
	if token, ok := step[1].(string); ok {
		held := l.requests[token]
		l.mu.Unlock()
		if held == nil {
			return fmt.Errorf("no request %s", token)
		}
		if verb == "reset" {
			held.reset(http2.ErrCode(number(rest[0])))
			return nil
		}
		return held.send(verb, rest)
	}
	at := number(step[1]) - 1
	conn, plain := l.conns[at], l.plain[at]
	l.mu.Unlock()
	switch verb {
	case "goaway":
		conn.inject(func() { conn.framer.WriteGoAway(uint32(number(rest[0])), http2.ErrCode(number(rest[1])), nil) })
	case "shutdown":
		conn.closing.Store(true)
	case "settings":
		var values []http2.Setting
		for id, value := range rest[0].(map[string]any) {
			key, _ := strconv.Atoi(id)
			values = append(values, http2.Setting{ID: http2.SettingID(key), Val: uint32(number(value))})
		}
		conn.announce(values, uint32(l.options.setting(http2.SettingInitialWindowSize, windowDefault)))
	case "ping":
		conn.inject(func() { conn.framer.WritePing(false, [8]byte{'c', 'o', 'n', 'f', 'o', 'r', 'm', 's'}) })
	case "unknown":
		conn.inject(func() { conn.framer.WriteRawFrame(unknownFrame, 0, 0, []byte("anything")) })
	case "release":
		close(l.reading)
		conn.release()
	case "cut":
		l.cut(conn, plain.(*net.TCPConn), rest[0].(bool))
	default:
		return errors.New("no step " + verb)
	}
	return nil
}

// cut ends the TCP connection under TLS, once everything was written: with a FIN, or with a reset.
func (l *listener) cut(conn *splice, plain *net.TCPConn, reset bool) {
	l.mu.Lock()
	var held []*request
	for _, request := range l.requests {
		if request.conn == conn {
			held = append(held, request)
		}
	}
	l.mu.Unlock()
	for _, request := range held {
		request.settle()
	}
	if reset {
		plain.SetLinger(0)
	}
	plain.Close()
}

func (l *listener) close() int {
	l.net.Close()
	if l.server != nil {
		l.server.Close()
	}
	added := 0
	for _, conn := range l.conns {
		conn.Close()
		added += conn.added
	}
	return added
}

func main() {
	listeners := map[int]*listener{}
	lines := bufio.NewReader(os.Stdin)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var o options
		answer := map[string]any{}
		if err = json.Unmarshal(text, &o); err == nil {
			err = obey(listeners, o, answer)
		}
		answer["id"] = o.ID
		if err != nil {
			answer["error"] = err.Error()
		}
		say(answer)
	}
}

func obey(listeners map[int]*listener, o options, answer map[string]any) error {
	switch o.Do {
	case "listen":
		l, err := listen(o)
		if err != nil {
			return err
		}
		listeners[o.Listener] = l
		answer["port"] = l.net.Addr().(*net.TCPAddr).Port
	case "steps":
		for _, step := range o.Steps {
			if err := listeners[o.Listener].step(step); err != nil {
				return fmt.Errorf("%v: %w", step, err)
			}
		}
	case "close":
		answer["added"] = listeners[o.Listener].close()
		delete(listeners, o.Listener)
	}
	return nil
}
