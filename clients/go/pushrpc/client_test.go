package pushrpc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// asked is a server that remembers what it was asked and answers each call with what its turn says.
type asked struct {
	mu       sync.Mutex
	methods  []string
	apps     []string
	tokens   []string
	deadline time.Duration
	answers  []error // of the first calls; then nil, which is an empty response
}

func (a *asked) intercept(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.methods = append(a.methods, info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:])
	a.apps = append(a.apps, request.(interface{ GetAppId() string }).GetAppId())
	headers, _ := metadata.FromIncomingContext(ctx)
	a.tokens = append(a.tokens, strings.Join(headers.Get("authorization"), ","))
	if until, ok := ctx.Deadline(); ok {
		a.deadline = time.Until(until)
	}
	if turn := len(a.methods) - 1; turn < len(a.answers) && a.answers[turn] != nil {
		return nil, a.answers[turn]
	}
	if info.FullMethod == pushrpcv1.PushService_RegisterDevice_FullMethodName {
		return &pushrpcv1.RegisterDeviceResponse{Created: true}, nil
	}
	return handler(ctx, request) // which says that it is not implemented
}

func TestEveryUnaryCallOfTheContractHasAMethodThatFillsInTheApp(t *testing.T) {
	server := &asked{}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept))
	client := reflect.ValueOf(connect(t, address))
	for i := range client.NumMethod() {
		if kind := client.Method(i).Type(); kind.NumIn() == 2 && kind.NumOut() == 2 && kind.In(1) != reflect.TypeFor[*pushrpcv1.StreamDeliveryStatusRequest]() {
			client.Method(i).Call([]reflect.Value{reflect.ValueOf(within(t)), reflect.New(kind.In(1).Elem())})
		}
	}
	slices.Sort(server.methods)
	var contract []string
	for _, method := range pushrpcv1.PushService_ServiceDesc.Methods {
		contract = append(contract, method.MethodName)
	}
	slices.Sort(contract)
	if !slices.Equal(server.methods, contract) {
		t.Errorf("called %v of %v", server.methods, contract)
	}
	if slices.ContainsFunc(server.apps, func(app string) bool { return app != "shop" }) {
		t.Errorf("apps were %v", server.apps)
	}
}

func TestARequestStaysAsItWas(t *testing.T) {
	server := &asked{}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept))
	request := &pushrpcv1.RegisterDeviceRequest{Token: "aa01", Tags: []string{"vip"}, Metadata: map[string]string{"a": "b"}}
	before := proto.Clone(request)
	client := connect(t, address)
	must[*pushrpcv1.RegisterDeviceResponse](t)(client.Register(within(t), request))
	if !proto.Equal(request, before) {
		t.Errorf("became %v", request)
	}
	must[*pushrpcv1.RegisterDeviceResponse](t)(client.Register(within(t), &pushrpcv1.RegisterDeviceRequest{AppId: "other"}))
	if !slices.Equal(server.apps, []string{"shop", "other"}) {
		t.Errorf("apps were %v", server.apps)
	}
}

func TestTimeouts(t *testing.T) {
	server := &asked{}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept))
	short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	for _, each := range []struct {
		ctx     context.Context
		options []pushrpc.Option
		want    time.Duration
	}{
		{t.Context(), nil, 10 * time.Second},
		{t.Context(), []pushrpc.Option{pushrpc.WithTimeout(5 * time.Second)}, 5 * time.Second},
		{short, nil, 3 * time.Second},
	} {
		must[*pushrpcv1.RegisterDeviceResponse](t)(connect(t, address, each.options...).Register(each.ctx, nil))
		if server.deadline > each.want || server.deadline < each.want-2*time.Second {
			t.Errorf("had %v, want %v", server.deadline, each.want)
		}
	}
}

func TestCallsThatMayBeRepeatedAreFourTimes(t *testing.T) {
	away := status.Error(codes.Unavailable, "away")
	server := &asked{answers: []error{away, away, away, nil, away, away, away, away}}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept))
	client := connect(t, address)
	must[*pushrpcv1.RegisterDeviceResponse](t)(client.Register(within(t), &pushrpcv1.RegisterDeviceRequest{}))
	_, err := client.Register(within(t), &pushrpcv1.RegisterDeviceRequest{})
	failed(t, err, codes.Unavailable)
	if len(server.methods) != 8 {
		t.Errorf("called %d times", len(server.methods))
	}
}

func TestABroadcastChannelIsNotOpenedTwice(t *testing.T) {
	server := &asked{answers: []error{status.Error(codes.Unavailable, "away")}}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept))
	_, err := connect(t, address).CreateBroadcastChannel(within(t), &pushrpcv1.CreateBroadcastChannelRequest{})
	failed(t, err, codes.Unavailable)
}

func TestTheServiceConfigNamesEveryCallThatMayBeRepeated(t *testing.T) {
	var config struct {
		MethodConfig []struct {
			Name []struct{ Service, Method string }
		}
	}
	if err := json.Unmarshal([]byte(pushrpc.ServiceConfig), &config); err != nil {
		t.Fatal(err)
	}
	var named, want []string
	for _, each := range config.MethodConfig[0].Name {
		named = append(named, each.Service+"/"+each.Method)
	}
	for _, method := range pushrpcv1.PushService_ServiceDesc.Methods {
		switch method.MethodName {
		case "SendNotification", "CreateBroadcastChannel", "DeleteBroadcastChannel":
		default:
			want = append(want, pushrpcv1.PushService_ServiceDesc.ServiceName+"/"+method.MethodName)
		}
	}
	slices.Sort(named)
	slices.Sort(want)
	if !slices.Equal(named, want) {
		t.Errorf("names %v, want %v", named, want)
	}
}

func TestMistakesAreToldBeforeAnyCall(t *testing.T) {
	_, missing := pushrpc.NewClient("127.0.0.1:1", "")
	_, conflict := pushrpc.NewClient("127.0.0.1:1", "shop", pushrpc.WithPlaintext(), pushrpc.WithTLS(&tls.Config{}))
	_, file := pushrpc.NewClient("127.0.0.1:1", "shop", pushrpc.WithRootsFile(filepath.Join(t.TempDir(), "none.pem")))
	_, pair := pushrpc.NewClient("127.0.0.1:1", "shop", pushrpc.WithCertificateFiles("none.pem", "none.key"))
	_, timeout := pushrpc.NewClient("127.0.0.1:1", "shop", pushrpc.WithTimeout(0))
	for i, err := range []error{missing, conflict, file, pair, timeout} {
		if err == nil || !strings.HasPrefix(err.Error(), "pushrpc: ") {
			t.Errorf("mistake %d: %v", i, err)
		}
	}
}

func TestTLSWithOwnRootsAClientCertificateAndAToken(t *testing.T) {
	certFile, keyFile := certificate(t)
	pair := must[tls.Certificate](t)(tls.LoadX509KeyPair(certFile, keyFile))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(certFile)))
	server := &asked{}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept),
		grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
		})))
	for name, options := range map[string][]pushrpc.Option{
		"files": {pushrpc.WithRootsFile(certFile), pushrpc.WithCertificateFiles(certFile, keyFile)},
		"own":   {pushrpc.WithTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}})},
	} {
		t.Run(name, func(t *testing.T) {
			client := must[*pushrpc.Client](t)(pushrpc.NewClient(address, "shop", append(options, pushrpc.WithBearerToken("t-1"))...))
			defer client.Close()
			must[*pushrpcv1.RegisterDeviceResponse](t)(client.Register(within(t), &pushrpcv1.RegisterDeviceRequest{}))
		})
	}
	if !slices.Equal(server.tokens, []string{"Bearer t-1", "Bearer t-1"}) {
		t.Errorf("tokens were %q", server.tokens)
	}
	stranger := must[*pushrpc.Client](t)(pushrpc.NewClient(address, "shop"))
	defer stranger.Close()
	_, err := stranger.Register(within(t), &pushrpcv1.RegisterDeviceRequest{})
	if failure := failed(t, err, codes.Unavailable); !strings.Contains(failure.Message, "certificate") {
		t.Errorf("the system's roots do not know this server, but: %v", failure)
	}
}

func TestATokenTravelsInPlaintextWhereThatWasChosen(t *testing.T) {
	server := &asked{}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept))
	client := connect(t, address, pushrpc.WithBearerToken("t-1"))
	must[*pushrpcv1.RegisterDeviceResponse](t)(client.Register(within(t), &pushrpcv1.RegisterDeviceRequest{}))
	if server.tokens[0] != "Bearer t-1" {
		t.Errorf("token was %q", server.tokens[0])
	}
}

func TestDialOptionsReachGRPC(t *testing.T) {
	server := &asked{}
	_, address := serve(t, "", pushrpcv1.UnimplementedPushServiceServer{}, grpc.UnaryInterceptor(server.intercept))
	seen := ""
	client := connect(t, address, pushrpc.WithDialOptions(grpc.WithUnaryInterceptor(func(
		ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker,
		options ...grpc.CallOption,
	) error {
		seen = method
		return invoke(ctx, method, request, response, connection, options...)
	})))
	must[*pushrpcv1.RegisterDeviceResponse](t)(client.Stub().RegisterDevice(within(t), &pushrpcv1.RegisterDeviceRequest{AppId: "bare"}))
	if seen != pushrpcv1.PushService_RegisterDevice_FullMethodName || server.apps[0] != "bare" {
		t.Errorf("saw %q of %v", seen, server.apps)
	}
}

// certificate is one for 127.0.0.1 that is its own root, and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	keyDER := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))
	directory := t.TempDir()
	certFile, keyFile = filepath.Join(directory, "cert.pem"), filepath.Join(directory, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}
