package pushrpc

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// Send accepts one notification durably and returns its receipt. Targets that cannot be reached are in the receipt's
// rejected, not errors.
//
// Without request_id it makes one, a new one for every call, and without app_id it fills in the client's; the request
// itself is not changed. It repeats under the same request_id while the server is not available or its answer was
// lost, as fast as the server asks for, until the deadline of ctx or the client's timeout, to which the request's wait
// is added. Because of that key nothing is sent twice. After an error, [Error].RequestID makes a later repeat safe too,
// for 72 hours.
func (c *Client) Send(
	ctx context.Context, request *pushrpcv1.SendNotificationRequest,
) (*pushrpcv1.SendNotificationResponse, error) {
	request = withKey(request, c.appID)
	ctx, cancel := c.withDeadline(ctx, request.Wait.AsDuration())
	defer cancel()
	var pauses pauses
	for {
		response, err := c.stub.SendNotification(ctx, request)
		if err == nil {
			return response, nil
		}
		failure := AsError(err)
		failure.RequestID = request.RequestId
		if failure.Code != codes.Unavailable {
			return nil, failure
		}
		pause := pauses.next(failure.RetryDelay)
		deadline, bounded := ctx.Deadline()
		if bounded && time.Until(deadline) <= pause || !sleep(ctx, pause) {
			return nil, failure
		}
	}
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
