package pushrpc

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// Send accepts one notification durably and returns its receipt. Targets that cannot be reached are in the receipt's
// rejected, not errors.
//
// Without request_id it makes one, a new one for every call, and without app_id it fills in the client's; the request
// itself is not changed. It repeats under the same request_id while the server is not available, as slowly as that asks
// for, and when its answer was lost (Unknown, Internal or Canceled from the other side, and no reason), until the
// deadline of ctx or the client's timeout, to which the request's wait is added. Other failures are final; a request of
// more than 4 MiB is refused here, with FIELD_TOO_LONG. Because of that key nothing is sent twice. After an error, [Error].RequestID makes a later repeat safe too, for 72 hours.
func (c *Client) Send(
	ctx context.Context, request *pushrpcv1.SendNotificationRequest,
) (*pushrpcv1.SendNotificationResponse, error) {
	request = withKey(request, c.appID)
	if failure := oversized(request); failure != nil {
		failure.RequestID = request.RequestId
		return nil, failure
	}
	ctx, cancel := c.withDeadline(ctx, request.Wait.AsDuration())
	defer cancel()
	var pauses pauses
	for {
		response, err := c.stub.SendNotification(ctx, request)
		if err == nil {
			return response, nil
		}
		failure := c.failure(err)
		failure.RequestID = request.RequestId
		if ctx.Err() != nil || !failure.isRepeated(request) {
			return nil, failure
		}
		pause := pauses.next(failure.RetryDelay)
		deadline, bounded := ctx.Deadline()
		if bounded && time.Until(deadline) <= pause || !c.sleep(ctx, pause) {
			failure = c.failure(failure) // it may have been closed meanwhile
			failure.RequestID = request.RequestId
			return nil, failure
		}
	}
}

// isRepeated reports whether the server may not have seen the send, or its answer was lost on the way. Servers give
// reasons for what they refuse; gRPC and proxies do not.
func (e *Error) isRepeated(request *pushrpcv1.SendNotificationRequest) bool {
	switch e.Code {
	case codes.Unavailable:
		return true
	case codes.Unknown, codes.Canceled:
		return e.Reason == ""
	case codes.Internal:
		if e.Reason != "" {
			return false
		}
		_, err := proto.Marshal(request) // what cannot be encoded, such as text that is no UTF-8, never left
		return err == nil
	}
	return false
}

// withKey is the request with the app and an idempotency key filled in, where the caller left those out.
func withKey(request *pushrpcv1.SendNotificationRequest, appID string) *pushrpcv1.SendNotificationRequest {
	if request.GetAppId() != "" && request.GetRequestId() != "" {
		return request
	}
	copied := shallow(request)
	if copied.AppId == "" {
		copied.AppId = appID
	}
	if copied.RequestId == "" {
		copied.RequestId = newRequestID()
	}
	return copied
}
