// Command go_apns sends one alert to each device token on its standard input with github.com/sideshow/apns2, a client
// that nobody here wrote, and prints what came back: one line of JSON for each token, in the order of the input.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"log"
	"os"
	"sync"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/certificate"
	"github.com/sideshow/apns2/payload"
	"github.com/sideshow/apns2/token"
	"golang.org/x/net/http2"
)

// A tenth of what Apple allows on one connection.
const inFlight = 100

type result struct {
	Token     string `json:"token"`
	Status    int    `json:"status"`
	Reason    string `json:"reason"`
	Timestamp int64  `json:"timestamp"`
	ApnsID    string `json:"apns_id"`
	UniqueID  string `json:"unique_id"`
	Error     string `json:"error"`
}

func main() {
	endpoint := flag.String("endpoint", "", "https://host:port")
	caFile := flag.String("ca", "", "trust root, PEM")
	topic := flag.String("topic", "", "bundle id")
	keyFile := flag.String("key", "", "signing key, .p8; without it the certificate is used")
	keyID := flag.String("key-id", "", "")
	teamID := flag.String("team-id", "", "")
	certFile := flag.String("cert", "", "client certificate and key, PEM")
	flag.Parse()

	client := connect(*keyFile, *keyID, *teamID, *certFile)
	client.Host = *endpoint
	trust(client, *caFile)

	var tokens []string
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		tokens = append(tokens, lines.Text())
	}

	results := make([]result, len(tokens))
	slots := make(chan struct{}, inFlight)
	var all sync.WaitGroup
	for i, device := range tokens {
		slots <- struct{}{}
		all.Add(1)
		send := func() {
			results[i] = push(client, device, *topic)
			<-slots
			all.Done()
		}
		if i == 0 {
			send() // Alone, because a new connection carries one stream until its provider token was accepted.
		} else {
			go send()
		}
	}
	all.Wait()

	out := json.NewEncoder(os.Stdout)
	for _, r := range results {
		if err := out.Encode(r); err != nil {
			log.Fatal(err)
		}
	}
}

func connect(keyFile, keyID, teamID, certFile string) *apns2.Client {
	if keyFile == "" {
		cert, err := certificate.FromPemFile(certFile, "")
		if err != nil {
			log.Fatal(err)
		}
		return apns2.NewClient(cert)
	}
	key, err := token.AuthKeyFromFile(keyFile)
	if err != nil {
		log.Fatal(err)
	}
	return apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: keyID, TeamID: teamID})
}

func trust(client *apns2.Client, caFile string) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatal("no certificate in ", caFile)
	}
	transport := client.HTTPClient.Transport.(*http2.Transport)
	if transport.TLSClientConfig == nil {
		transport.TLSClientConfig = &tls.Config{}
	}
	transport.TLSClientConfig.RootCAs = roots
}

func push(client *apns2.Client, device, topic string) result {
	r := result{Token: device}
	response, err := client.Push(&apns2.Notification{
		DeviceToken: device,
		Topic:       topic,
		PushType:    apns2.PushTypeAlert,
		Priority:    apns2.PriorityHigh,
		Payload:     payload.NewPayload().AlertTitle("Order shipped").AlertBody("It is on its way").Badge(3),
	})
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Status, r.Reason = response.StatusCode, response.Reason
	r.ApnsID, r.UniqueID = response.ApnsID, response.ApnsUniqueID
	if !response.Timestamp.IsZero() {
		r.Timestamp = response.Timestamp.UnixMilli()
	}
	return r
}
