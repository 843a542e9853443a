package pushrpc

import (
	"context"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// bearer asks for the token of each attempt of a call.
type bearer struct {
	token  func(context.Context) (string, error)
	secure bool
}

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.token(ctx)
	switch {
	case err != nil && ctx.Err() != nil: // the call is over; the token is not why
		return nil, status.FromContextError(ctx.Err()).Err()
	case err != nil:
		return nil, tokenUnavailable(err)
	case token == "":
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (b bearer) RequireTransportSecurity() bool {
	return b.secure
}

// tokenUnavailable is a status, because gRPC hands on nothing else.
func tokenUnavailable(cause error) error {
	told := status.New(codes.Unauthenticated, "there is no bearer token: "+cause.Error())
	if detailed, err := told.WithDetails(&errdetails.ErrorInfo{Reason: reasonNoToken, Domain: domainClient}); err == nil {
		told = detailed
	}
	return told.Err()
}
