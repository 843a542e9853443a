package pushrpc_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pushrpc/pushrpc/clients/go/pushrpc"
)

func TestAnErrorHasAllThatTheServerSaid(t *testing.T) {
	told := must[*status.Status](t)(status.New(codes.InvalidArgument, "target names nothing").WithDetails(
		&errdetails.ErrorInfo{Reason: "TARGET_EMPTY", Domain: "pushrpc.v1", Metadata: map[string]string{"field": "target"}},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "target", Description: "names nothing"}, {Field: "wait", Description: "is too long"},
		}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
	))
	failure := pushrpc.AsError(told.Err())
	if failure.Code != codes.InvalidArgument || failure.Reason != "TARGET_EMPTY" || failure.Metadata["field"] != "target" ||
		failure.Message != "target names nothing" || failure.RetryDelay != 1500*time.Millisecond {
		t.Errorf("%+v", failure)
	}
	fields := []pushrpc.FieldViolation{{"target", "names nothing"}, {"wait", "is too long"}}
	if !reflect.DeepEqual(failure.FieldViolations, fields) {
		t.Errorf("%v", failure.FieldViolations)
	}
	if line := failure.Error(); line != "pushrpc: InvalidArgument (TARGET_EMPTY): target names nothing" {
		t.Error(line)
	}
	if len(status.Convert(failure).Details()) != 3 {
		t.Error("package status does not read it")
	}
}

func TestAnErrorThatNoServerWorded(t *testing.T) {
	failure := pushrpc.AsError(status.Error(codes.Unavailable, "connection refused"))
	if failure.Reason != "" || failure.RetryDelay != 0 || !strings.HasSuffix(failure.Error(), "Unavailable: connection refused") {
		t.Error(failure)
	}
	if pushrpc.AsError(nil) != nil {
		t.Error("nil is no error")
	}
	if again := pushrpc.AsError(failure); again != failure {
		t.Error("what is an Error already stays that one")
	}
}

func TestAReasonOfAnotherDomainIsNotTheContracts(t *testing.T) {
	failure := pushrpc.AsError(refusalOf("proxy.example", codes.Unavailable, "NO_UPSTREAM", time.Second))
	if failure.Reason != "" || failure.Metadata != nil || failure.RetryDelay != time.Second {
		t.Errorf("%+v", failure)
	}
}

func TestErrorsOfContexts(t *testing.T) {
	for _, each := range []error{context.DeadlineExceeded, context.Canceled} {
		if failure := pushrpc.AsError(each); !errors.Is(failure, each) || status.Code(failure) == codes.Unknown {
			t.Errorf("%v became %v", each, failure)
		}
	}
	late := pushrpc.AsError(status.Error(codes.DeadlineExceeded, "late"))
	if !errors.Is(late, context.DeadlineExceeded) || errors.Is(late, context.Canceled) {
		t.Error(late)
	}
}
