package main

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// Tokens are as long as real ones, and begin as randomly, because a ledger's indexes feel that. They also carry their
// number, so that sink and follower know a push again: APNs tokens end with it in hex, FCM tokens have it before the
// colon in decimal.
const (
	fcmRandom = 11
	fcmColon  = 22
	fcmTail   = ":APA91bXbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbenchbench"
)

func appendToken(b []byte, provider string, number int64) []byte {
	if provider == "fcm" {
		return fmt.Appendf(b, "%0*x%0*d%s", fcmRandom, mixed(number)>>20, fcmColon-fcmRandom, number, fcmTail)
	}
	return fmt.Appendf(b, "%016x%048x", mixed(number), number)
}

// mixed is the finaliser of SplitMix64: the same number gives the same bits, and they look random.
func mixed(number int64) uint64 {
	z := uint64(number) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func numberOf(token []byte) int64 {
	if len(token) > fcmColon && token[fcmColon] == ':' {
		number, err := strconv.ParseInt(string(token[fcmRandom:fcmColon]), 10, 64)
		if err != nil {
			return -1
		}
		return number
	}
	return apnsNumber(string(token))
}

func appendMessage(b []byte, number protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), message)
}

func appendText(b []byte, number protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), text)
}

// appendLabel appends an entry of a map<string, string> with the key "run".
func appendLabel(b []byte, number protowire.Number, value string) []byte {
	return appendMessage(b, number, appendText(appendText(nil, 1, "run"), 2, value))
}

// sendRequest is a pushrpc.v1.SendNotificationRequest. A body ends with the number of its first token: its own.
func sendRequest(c call, about content) []byte {
	target := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), providers[c.provider])
	var token []byte
	for i := range c.count {
		token = appendToken(token[:0], c.provider, c.first+i)
		target = appendMessage(target, 2, token)
	}
	b := appendText(nil, 1, c.app)
	b = appendText(b, 2, "r-"+strconv.FormatInt(c.first, 10))
	b = appendMessage(b, 3, appendMessage(nil, 1, target))
	b = appendMessage(b, 4, appendText(appendText(nil, 1, about.title), 2, bodyOf(c, about)))
	if c.label != "" {
		b = appendMessage(b, 5, appendLabel(nil, 6, c.label))
	}
	return b
}

func bodyOf(c call, about content) string { return fmt.Sprintf("%s %09d", about.body, c.first) }

// fields calls visit with each field of a message; scalar is set for varints, value for what has a length.
func fields(b []byte, visit func(number protowire.Number, scalar uint64, value []byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var scalar uint64
		var value []byte
		switch kind {
		case protowire.VarintType:
			scalar, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := visit(number, scalar, value); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// echo takes the same message as pushrpc on the same method, and answers at once: settled is answered.
type echo struct {
	connection *grpc.ClientConn
	content    content
}

func dialEcho(target string, about content) (*echo, error) {
	c, err := dial(target)
	return &echo{c, about}, err
}

func (e *echo) about() content { return e.content }

func (e *echo) send(ctx context.Context, c call) error {
	var answer []byte
	return e.connection.Invoke(ctx, service+"SendNotification", sendRequest(c, e.content), &answer)
}

func (e *echo) begin() func(context.Context, int64) (states, error) {
	return func(context.Context, int64) (states, error) { return nil, nil }
}

func (e *echo) close() error { return e.connection.Close() }
