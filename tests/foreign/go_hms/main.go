// Command go_hms sends one notification to all tokens on its standard input with github.com/appleboy/go-hms-push, a
// client that nobody here wrote, and prints what came back as one line of JSON.
//
// The library turns off the verification of certificates in every HTTP client that it makes for itself, and none can be
// handed to it. So the program speaks to a plain listener of its own on loopback, which passes everything on over TLS
// that it does verify, by HTTP/2 or HTTP/1.1 as -http says.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"

	"github.com/appleboy/go-hms-push/push/config"
	"github.com/appleboy/go-hms-push/push/core"
	"github.com/appleboy/go-hms-push/push/model"
)

type result struct {
	Code      string `json:"code"`
	Msg       string `json:"msg"`
	RequestID string `json:"request_id"`
	Protocol  string `json:"protocol"`
	Error     string `json:"error"`
}

func main() {
	endpoint := flag.String("endpoint", "", "https://host:port")
	caFile := flag.String("ca", "", "trust root, PEM")
	protocol := flag.Int("http", 1, "1 or 2")
	appID := flag.String("app", "", "app id")
	secretFile := flag.String("secret", "", "file with the app's secret")
	topic := flag.String("topic", "", "send to it instead of tokens")
	bad := flag.Bool("bad", false, "send a badge that Huawei refuses")
	flag.Parse()

	var seen string
	door := verified(*endpoint, *caFile, *protocol == 2, &seen)
	defer door.Close()
	secret, err := os.ReadFile(*secretFile)
	if err != nil {
		log.Fatal(err)
	}
	client, err := core.NewHttpClient(&config.Config{
		AppId:     *appID,
		AppSecret: strings.TrimSpace(string(secret)),
		AuthUrl:   door.URL + "/oauth2/v3/token",
		PushUrl:   door.URL,
	})
	if err != nil {
		log.Fatal(err)
	}

	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	r := result{}
	response, err := client.SendMessage(context.Background(), request(strings.Fields(string(input)), *topic, *bad))
	if err != nil {
		r.Error = err.Error()
	}
	if response != nil {
		r.Code, r.Msg, r.RequestID = response.Code, response.Msg, response.RequestId
	}
	r.Protocol = seen
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		log.Fatal(err)
	}
}

func request(tokens []string, topic string, bad bool) *model.MessageRequest {
	request := model.NewNotificationMsgRequest()
	message := request.Message
	message.Notification = &model.Notification{Title: "Order shipped", Body: "It is on its way"}
	message.Data = `{"order_id":"1234"}`
	message.Android = model.GetDefaultAndroid()
	message.Android.Notification = model.GetDefaultAndroidNotification()
	message.Android.Notification.Badge = &model.BadgeNotification{SetNum: 3}
	if bad {
		message.Android.Notification.Badge = &model.BadgeNotification{AddNum: 100}
	}
	if topic == "" {
		message.Token = tokens
	} else {
		message.Topic = topic
	}
	return request
}

// verified starts the listener that passes requests on; seen is told the protocol that the other side spoke.
func verified(endpoint, caFile string, http2 bool, seen *string) *httptest.Server {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatal("no certificate in ", caFile)
	}
	target, err := url.Parse(endpoint)
	if err != nil {
		log.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
	proxy.ModifyResponse = func(response *http.Response) error {
		*seen = response.Proto
		return nil
	}
	return httptest.NewServer(proxy)
}
