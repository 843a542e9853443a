// Command scenario plays clients/scenarios/scenario.json through the client's public API and prints what it saw.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

const (
	stepTimeout = 60 * time.Second
	atOnce      = 4 * time.Second // less than any time that a server asks callers to wait
	closeAfter  = 300 * time.Millisecond
	eventsMax   = 1000 // more than the scenario makes
)

type step struct {
	Name      string
	Do        string
	Request   json.RawMessage
	Requests  []json.RawMessage
	Again     bool
	Of        string
	Cursor    string
	Why       string
	Finals    int
	TimeoutMS int `json:"timeout_ms"`
}

type result map[string]any

// player remembers what later steps are about.
type player struct {
	address string
	client  *pushrpc.Client
	stdin   *bufio.Reader
	sent    map[string]*pushrpcv1.SendNotificationResponse // by the names of their steps
	events  chan event                                     // of the whole app
	seen    map[string]bool                                // event ids
	tokens  []string                                       // of final events
	repeats int
}

type event struct {
	*pushrpcv1.DeliveryEvent
	err error
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file, address string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var steps []step
	if err := json.Unmarshal(text, &steps); err != nil {
		return err
	}
	client, err := pushrpc.NewClient(address, "shop", pushrpc.WithPlaintext())
	if err != nil {
		return err
	}
	defer client.Close()
	p := &player{
		address: address, client: client, stdin: bufio.NewReader(os.Stdin),
		sent: map[string]*pushrpcv1.SendNotificationResponse{}, seen: map[string]bool{},
	}
	for _, each := range steps {
		line := result{"step": each.Name}
		if told, err := p.play(each); err != nil {
			line["failed"] = err.Error()
		} else {
			line["result"] = told
		}
		say(line)
	}
	return nil
}

func say(line result) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // made of strings, numbers and booleans
	}
	fmt.Println(string(text))
}

func (p *player) play(each step) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	switch each.Do {
	case "register":
		return p.register(ctx, each)
	case "send":
		return p.send(ctx, each)
	case "send_error":
		return p.sendError(ctx, each)
	case "bulk":
		return p.bulk(ctx, each)
	case "follow":
		return p.follow(ctx, each)
	case "follow_error":
		return p.followError(ctx, each)
	case "replay":
		return p.replay(ctx, each)
	case "follow_app":
		return p.followApp()
	case "pause":
		return p.pause(each)
	case "collect":
		return p.collect(each)
	case "cancel":
		return p.cancel(ctx, each)
	case "close":
		return p.close(ctx)
	case "deadline":
		return deadline(each)
	}
	return nil, fmt.Errorf("this runner cannot %q", each.Do)
}

func read[Request proto.Message](text json.RawMessage, request Request) (Request, error) {
	return request, protojson.Unmarshal(text, request)
}

func (p *player) register(ctx context.Context, each step) (result, error) {
	request, err := read(each.Request, &pushrpcv1.RegisterDeviceRequest{})
	if err != nil {
		return nil, err
	}
	response, err := p.client.Register(ctx, request)
	if err != nil {
		return nil, err
	}
	return result{"created": response.Created, "user_id": response.Device.UserId}, nil
}

func (p *player) send(ctx context.Context, each step) (result, error) {
	request, err := read(each.Request, &pushrpcv1.SendNotificationRequest{})
	if err != nil {
		return nil, err
	}
	receipt, err := p.client.Send(ctx, request)
	if err == nil && each.Again {
		receipt, err = p.client.Send(ctx, request)
	}
	if err != nil {
		return nil, err
	}
	p.sent[each.Name] = receipt
	rejected := []string{}
	for _, rejection := range receipt.Rejected {
		rejected = append(rejected, strings.TrimPrefix(rejection.Reason.String(), "REJECT_REASON_"))
	}
	return result{"target_count": receipt.TargetCount, "replayed": receipt.Replayed, "rejected": rejected}, nil
}

func (p *player) sendError(ctx context.Context, each step) (result, error) {
	request, err := read(each.Request, &pushrpcv1.SendNotificationRequest{})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	_, err = p.client.Send(ctx, request)
	took := time.Since(began)
	failure, err := expected(err)
	if err != nil {
		return nil, err
	}
	fields := []string{}
	for _, violation := range failure.FieldViolations {
		fields = append(fields, violation.Field)
	}
	return result{
		"code": name(failure), "reason": failure.Reason, "fields": fields,
		"retry_after_s": int(failure.RetryDelay.Seconds()), "at_once": took < atOnce,
	}, nil
}

func expected(err error) (*pushrpc.Error, error) {
	var failure *pushrpc.Error
	if errors.As(err, &failure) {
		return failure, nil
	}
	return nil, fmt.Errorf("expected an error of the client, got %v", err)
}

func name(failure *pushrpc.Error) string {
	return code.Code(failure.Code).String()
}

func (p *player) bulk(ctx context.Context, each step) (result, error) {
	bulk := p.client.Bulk(ctx)
	var added []*pushrpc.Pending
	for _, text := range each.Requests {
		request, err := read(text, &pushrpcv1.SendNotificationRequest{})
		if err != nil {
			return nil, err
		}
		pending, err := bulk.Add(ctx, request)
		if err != nil {
			return nil, err
		}
		added = append(added, pending)
	}
	if err := bulk.Close(); err != nil {
		return nil, err
	}
	accepted, refused := 0, [][2]string{}
	for _, pending := range added {
		if _, err := pending.Receipt(ctx); err == nil {
			accepted++
		} else if failure, err := expected(err); err == nil {
			refused = append(refused, [2]string{failure.RequestID, failure.Reason})
		} else {
			return nil, err
		}
	}
	return result{"accepted": accepted, "errors": refused}, nil
}

func (p *player) follow(ctx context.Context, each step) (result, error) {
	request := &pushrpcv1.StreamDeliveryStatusRequest{NotificationIds: []string{p.sent[each.Of].GetNotificationId()}}
	follower, err := p.client.Follow(ctx, request)
	if err != nil {
		return nil, err
	}
	states := [][3]any{}
	for event, err := range follower.Events() {
		if err != nil {
			return nil, err
		}
		states = append(states, [3]any{event.Token, strings.TrimPrefix(event.State.String(), "DELIVERY_STATE_"), event.Final})
	}
	slices.SortFunc(states, func(a, b [3]any) int {
		return cmp.Or(
			cmp.Compare(a[0].(string), b[0].(string)),
			cmp.Compare(a[1].(string), b[1].(string)),
			cmp.Compare(fmt.Sprint(a[2]), fmt.Sprint(b[2])), // "false" before "true"
		)
	})
	return result{"states": states, "ended": follower.End() != nil}, nil
}

func (p *player) followError(ctx context.Context, each step) (result, error) {
	cursor := each.Cursor
	if each.Of != "" {
		cursor = p.sent[each.Of].GetCursor()
	}
	failure, err := expected(ended(p.client.Follow(ctx, &pushrpcv1.StreamDeliveryStatusRequest{Cursor: cursor})))
	if err != nil {
		return nil, err
	}
	return result{
		"code": name(failure), "reason": failure.Reason, "tells_oldest": failure.Metadata["oldest_cursor"] != "",
	}, nil
}

// replay follows what there is of the app, from a cursor where it has one.
func (p *player) replay(ctx context.Context, each step) (result, error) {
	follower, err := p.client.Follow(ctx, &pushrpcv1.StreamDeliveryStatusRequest{
		Cursor: p.sent[each.Of].GetCursor(), Start: pushrpcv1.StreamStart_STREAM_START_OLDEST, UntilCaughtUp: true,
	})
	if err != nil {
		return nil, err
	}
	tokens := []string{}
	for event, err := range follower.Events() {
		if err != nil {
			return nil, err
		}
		if event.Final {
			tokens = append(tokens, event.Token)
		}
	}
	return result{"tokens": slices.Sorted(slices.Values(tokens)), "ended": follower.End() != nil}, nil
}

// ended is the error that ends a follower, at once or later.
func ended(follower *pushrpc.Follower, err error) error {
	if err != nil {
		return err
	}
	for _, err = range follower.Events() {
	}
	return err
}

// close closes a client while its follower waits for an event.
func (p *player) close(ctx context.Context) (result, error) {
	client, err := pushrpc.NewClient(p.address, "shop", pushrpc.WithPlaintext())
	if err != nil {
		return nil, err
	}
	follower, err := client.Follow(ctx, &pushrpcv1.StreamDeliveryStatusRequest{})
	if err != nil {
		return nil, err
	}
	time.AfterFunc(closeAfter, func() { client.Close() })
	failure, err := expected(ended(follower, nil))
	if err != nil {
		return nil, err
	}
	return result{"code": name(failure), "reason": failure.Reason}, nil
}

func (p *player) followApp() (result, error) {
	follower, err := p.client.Follow(context.Background(), &pushrpcv1.StreamDeliveryStatusRequest{})
	if err != nil {
		return nil, err
	}
	p.events = make(chan event, eventsMax)
	go func() {
		for told, err := range follower.Events() {
			p.events <- event{told, err}
		}
	}()
	return result{"following": true}, nil
}

func (p *player) collect(each step) (result, error) {
	limit := time.After(stepTimeout)
	for len(p.tokens) < each.Finals {
		select {
		case event := <-p.events:
			if event.err != nil {
				return nil, event.err
			}
			if p.seen[event.EventId] {
				p.repeats++
			}
			p.seen[event.EventId] = true
			if event.Final {
				p.tokens = append(p.tokens, event.Token)
			}
		case <-limit:
			return nil, fmt.Errorf("only %d final events", len(p.tokens))
		}
	}
	return result{"finals": len(p.tokens), "tokens": slices.Sorted(slices.Values(p.tokens)), "repeats": p.repeats}, nil
}

func (p *player) pause(each step) (result, error) {
	say(result{"pause": each.Why})
	if _, err := p.stdin.ReadString('\n'); err != nil {
		return nil, err
	}
	return result{"resumed": true}, nil
}

func (p *player) cancel(ctx context.Context, each step) (result, error) {
	request := &pushrpcv1.CancelNotificationRequest{NotificationId: p.sent[each.Of].GetNotificationId()}
	response, err := p.client.Cancel(ctx, request)
	if err != nil {
		return nil, err
	}
	return result{
		"cancelled_count":     response.CancelledCount,
		"in_flight_count":     response.InFlightCount,
		"already_final_count": response.AlreadyFinalCount,
	}, nil
}

func deadline(each step) (result, error) {
	client, err := pushrpc.NewClient(os.Getenv("PUSHRPC_SILENT"), "shop", pushrpc.WithPlaintext())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	timeout := time.Duration(each.TimeoutMS) * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	began := time.Now()
	_, err = client.Send(ctx, &pushrpcv1.SendNotificationRequest{
		Target:  &pushrpcv1.Target{UserIds: []string{"ann"}},
		Message: &pushrpcv1.NotificationContent{Title: "Hello"},
	})
	failure, err := expected(err)
	if err != nil {
		return nil, err
	}
	return result{"code": name(failure), "took_too_long": time.Since(began) > timeout+5*time.Second}, nil
}
