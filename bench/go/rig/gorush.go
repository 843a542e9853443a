package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// gorush's numbers of platforms.
var platforms = map[string]uint64{"apns": 1, "fcm": 2}

// gorush takes any number of APNs tokens a notification, and 500 for FCM.
const fcmTokensMax = 500

// gorushREST is gorush with `core.sync`: a call is answered when all of its pushes are.
type gorushREST struct {
	url     string
	client  *http.Client
	content content
}

func dialGorushREST(target string, about content) *gorushREST {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	return &gorushREST{"http://" + target + "/api/push", &http.Client{Transport: transport}, about}
}

func (g *gorushREST) about() content { return g.content }

func (g *gorushREST) close() error {
	g.client.CloseIdleConnections()
	return nil
}

func (g *gorushREST) begin() func(context.Context, int64) (states, error) {
	return func(context.Context, int64) (states, error) { return nil, nil }
}

func (g *gorushREST) send(ctx context.Context, c call) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url, bytes.NewReader(g.body(c)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := g.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	// Only failures are told, one entry each.
	if response.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"logs":[]`)) {
		return fmt.Errorf("gorush answered %d %.900q", response.StatusCode, answer)
	}
	return nil
}

func (g *gorushREST) body(c call) []byte {
	each := c.count
	if c.provider == "fcm" {
		each = min(each, fcmTokensMax)
	}
	b := []byte(`{"notifications":[`)
	for at := int64(0); at < c.count; at += each {
		if at > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"tokens":[`...)
		for i := at; i < min(at+each, c.count); i++ {
			if i > at {
				b = append(b, ',')
			}
			b = append(b, '"')
			b = appendToken(b, c.provider, c.first+i)
			b = append(b, '"')
		}
		b = fmt.Appendf(b, `],"platform":%d,"title":%s,"message":%s,"priority":"high"`,
			platforms[c.provider], strconv.Quote(g.content.title), strconv.Quote(bodyOf(c, g.content)))
		if c.provider == "apns" {
			b = fmt.Appendf(b, `,"topic":%q,"push_type":"alert"`, g.content.topic)
		}
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

// gorushGRPC is gorush's unary Send, which answers before it sends and tells no result: settled is what the sink saw.
type gorushGRPC struct {
	connection *grpc.ClientConn
	content    content
	sink       *sink
}

func dialGorushGRPC(target string, about content, to *sink) (*gorushGRPC, error) {
	c, err := dial(target)
	return &gorushGRPC{c, about, to}, err
}

func (g *gorushGRPC) about() content { return g.content }

func (g *gorushGRPC) close() error { return g.connection.Close() }

// send makes two calls of one that is too large for FCM.
func (g *gorushGRPC) send(ctx context.Context, c call) error {
	if c.provider == "fcm" && c.count > fcmTokensMax {
		rest := c
		rest.first, rest.count = c.first+fcmTokensMax, c.count-fcmTokensMax
		c.count = fcmTokensMax
		if err := g.send(ctx, rest); err != nil {
			return err
		}
	}
	var b, token, answer []byte
	for i := range c.count {
		token = appendToken(token[:0], c.provider, c.first+i)
		b = appendMessage(b, 1, token)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), platforms[c.provider])
	b = appendText(b, 3, bodyOf(c, g.content))
	b = appendText(b, 4, g.content.title)
	b = protowire.AppendVarint(protowire.AppendTag(b, 16, protowire.VarintType), 1) // high priority
	if c.provider == "apns" {
		b = appendText(appendText(b, 5, g.content.topic), 18, "alert")
	}
	return g.connection.Invoke(ctx, "/proto.Gorush/Send", b, &answer)
}

func (g *gorushGRPC) begin() func(context.Context, int64) (states, error) {
	before := g.sink.pushes.Load()
	return func(ctx context.Context, pushes int64) (states, error) {
		for g.sink.pushes.Load() < before+pushes {
			select {
			case <-time.After(200 * time.Microsecond):
			case <-ctx.Done():
				return nil, fmt.Errorf("the sink saw %d of %d pushes: %w", g.sink.pushes.Load()-before, pushes, ctx.Err())
			}
		}
		return nil, nil
	}
}
