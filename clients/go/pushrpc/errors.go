package pushrpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// Reasons of failures that no server has a part in.
const (
	reasonClosed  = "CLIENT_CLOSED"
	reasonNoToken = "TOKEN_UNAVAILABLE"
)

// reasonTooLong is the server's word for what this side refuses already.
const reasonTooLong = "FIELD_TOO_LONG"

// Domains of ErrorInfo whose reasons are the contract's, or this client's; those of proxies mean something else.
const (
	domainServer = "pushrpc.v1"
	domainClient = "pushrpc.client"
)

// requestBytesMax is what the server takes.
const requestBytesMax = 4 << 20

// Error is how every call of this package fails.
//
//	var failure *pushrpc.Error
//	if errors.As(err, &failure) && failure.Reason == "REQUEST_ID_REUSED" { ... }
//
// [errors.Is] finds [context.DeadlineExceeded] and [context.Canceled] in errors of those codes, and the functions of
// package status read it as the gRPC error that it was.
type Error struct {
	// Code is the gRPC code.
	Code codes.Code
	// Reason is the contract's word for programs, such as "TARGET_EMPTY", or one of the client's own: "CLIENT_CLOSED" and
	// "TOKEN_UNAVAILABLE". It is empty when gRPC or a proxy failed the call, also where that gives a reason of its own.
	Reason string
	// Message says what is wrong and what to do, for people.
	Message string
	// Metadata has what the reason is about, such as "field", "limit" or "oldest_cursor".
	Metadata map[string]string
	// FieldViolations are all fields that are wrong, in the request's order.
	FieldViolations []FieldViolation
	// RetryDelay is when the same call may work; zero when the server did not say.
	RetryDelay time.Duration
	// RequestID is the key a send went under. A repeat with it is safe, whether or not the send was accepted.
	RequestID string

	status *status.Status
}

// FieldViolation is one wrong field.
type FieldViolation struct {
	// Field is its path in the request, such as "target.tokens[0].provider".
	Field string
	// Description says what is wrong with it and what to do.
	Description string
}

// Error is one line for a log.
func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("pushrpc: %v: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("pushrpc: %v (%s): %s", e.Code, e.Reason, e.Message)
}

// GRPCStatus is the status as it came, for package status.
func (e *Error) GRPCStatus() *status.Status {
	if e.status == nil {
		return status.New(e.Code, e.Message)
	}
	return e.status
}

// Is reports whether target is the error of package context that has the same meaning.
func (e *Error) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded:
		return e.Code == codes.DeadlineExceeded
	case context.Canceled:
		return e.Code == codes.Canceled
	}
	return false
}

// AsError reads any error of a gRPC call, such as one of [Client.Stub]. It is nil when err is nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	told := status.Convert(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		told = status.FromContextError(err)
	}
	failure := &Error{Code: told.Code(), Message: told.Message(), status: told}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.Domain == domainServer || detail.Domain == domainClient {
				failure.Reason, failure.Metadata = detail.Reason, detail.Metadata
			}
		case *errdetails.BadRequest:
			for _, each := range detail.FieldViolations {
				failure.FieldViolations = append(failure.FieldViolations, FieldViolation{each.Field, each.Description})
			}
		case *errdetails.RetryInfo:
			failure.RetryDelay = detail.RetryDelay.AsDuration()
		}
	}
	return failure
}

// sendFailure is the error of one send of a bulk message.
func sendFailure(requestID string, told *pushrpcv1.SendFailure) *Error {
	failure := &Error{
		Code:       codes.Code(told.GetCode()),
		Reason:     told.GetReason(),
		Message:    told.GetDetail(),
		RetryDelay: told.GetRetryAfter().AsDuration(),
		RequestID:  requestID,
	}
	for _, each := range told.GetFieldViolations() {
		failure.FieldViolations = append(failure.FieldViolations, FieldViolation{each.Field, each.Description})
	}
	return failure
}

// failure is AsError of what the client's own calls end with, where its Close is told from what a server or a caller
// did.
func (c *Client) failure(err error) *Error {
	failure := AsError(err)
	if c.isClosed() && (failure.Code == codes.Canceled || failure.Code == codes.Unavailable) {
		return clientClosed()
	}
	return failure
}

// mayPass is false for what would be refused again.
func (e *Error) mayPass() bool {
	switch e.Code {
	case codes.InvalidArgument, codes.NotFound, codes.OutOfRange, codes.AlreadyExists, codes.FailedPrecondition,
		codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied:
		return false
	}
	return e.Reason != reasonClosed
}

// oversized is the error of a request that no server would read, or nil; gRPC's own would not say what is wrong.
func oversized(request proto.Message) *Error {
	if bytes := proto.Size(request); bytes > requestBytesMax {
		return tooLong(bytes, requestBytesMax)
	}
	return nil
}

func tooLong(bytes, limit int) *Error {
	message := fmt.Sprintf("the request has %d bytes, the limit is %d; split it", bytes, limit)
	return &Error{Code: codes.InvalidArgument, Reason: reasonTooLong, Message: message}
}

func clientClosed() *Error {
	return &Error{Code: codes.Canceled, Reason: reasonClosed, Message: "the client is closed; make another one"}
}
