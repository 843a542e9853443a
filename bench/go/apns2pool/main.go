// Command apns2pool sends with github.com/sideshow/apns2 and a pool of workers, the way gorush does, without a door
// around it: what the Go client alone costs.
//
// Each line of standard input is a JSON object {"calls", "tokens", "callers"}; each is answered with a line when every
// push of it was answered. It ends with its input.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/payload"
	"github.com/sideshow/apns2/token"
	"golang.org/x/net/http2"
)

// gorush's default for ios.max_concurrent_pushes.
const workers = 100

type load struct {
	Calls   int64 `json:"calls"`
	Tokens  int64 `json:"tokens"`
	Callers int64 `json:"callers"`
}

type pool struct {
	client  *apns2.Client
	topic   string
	title   string
	body    string
	slots   chan struct{}
	numbers atomic.Int64
}

func main() {
	host := flag.String("host", "", "https://host:port")
	caFile := flag.String("ca", "", "trust root, PEM")
	keyFile := flag.String("key", "", "signing key, .p8")
	topic := flag.String("topic", "", "bundle id")
	title := flag.String("title", "", "")
	body := flag.String("body", "", "")
	flag.Parse()

	p := &pool{client: connect(*host, *caFile, *keyFile), topic: *topic, title: *title, body: *body, slots: make(chan struct{}, workers)}
	fmt.Println("{}")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var l load
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			log.Fatal(err)
		}
		start := time.Now()
		p.run(l)
		fmt.Printf(`{"seconds":%g,"pushes":%d}`+"\n", time.Since(start).Seconds(), l.Calls*l.Tokens)
	}
}

func connect(host, caFile, keyFile string) *apns2.Client {
	key, err := token.AuthKeyFromFile(keyFile)
	if err != nil {
		log.Fatal(err)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatal("no certificate in ", caFile)
	}
	client := apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: "ABC123DEFG", TeamID: "DEF123GHIJ"})
	client.Host = host
	client.HTTPClient.Transport.(*http2.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	return client
}

func (p *pool) run(l load) {
	var next atomic.Int64
	var callers sync.WaitGroup
	for range l.Callers {
		callers.Go(func() {
			for next.Add(1) <= l.Calls {
				p.call(l.Tokens)
			}
		})
	}
	callers.Wait()
}

// call sends one notification to new tokens, and returns when all are answered.
func (p *pool) call(tokens int64) {
	first := p.numbers.Add(tokens) - tokens
	notification := apns2.Notification{
		Topic:    p.topic,
		PushType: apns2.PushTypeAlert,
		Priority: apns2.PriorityHigh,
		Payload:  payload.NewPayload().AlertTitle(p.title).AlertBody(fmt.Sprintf("%s %09d", p.body, first)),
	}
	var all sync.WaitGroup
	for i := range tokens {
		p.slots <- struct{}{}
		all.Add(1)
		go func() {
			one := notification
			one.DeviceToken = fmt.Sprintf("%064x", first+i)
			if response, err := p.client.Push(&one); err != nil || !response.Sent() {
				log.Fatal(err, response)
			}
			<-p.slots
			all.Done()
		}()
	}
	all.Wait()
}
