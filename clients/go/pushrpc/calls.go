package pushrpc

import (
	"context"

	"google.golang.org/grpc"

	pushrpcv1 "github.com/pushrpc/pushrpc/clients/go/pushrpc/v1"
)

// call makes a unary call with the app filled in, within the deadline of ctx or the client's timeout.
func call[Request named, Response any](
	ctx context.Context, c *Client, request Request,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	ctx, cancel := c.withDeadline(ctx, 0)
	defer cancel()
	request = withAppID(request, c.appID)
	if failure := oversized(request); failure != nil {
		var none Response
		return none, failure
	}
	response, err := method(ctx, request)
	if err != nil {
		return response, c.failure(err)
	}
	return response, nil
}

// Register stores one provider token and what is known of its device. Fields that are set overwrite, others stay.
func (c *Client) Register(
	ctx context.Context, request *pushrpcv1.RegisterDeviceRequest,
) (*pushrpcv1.RegisterDeviceResponse, error) {
	return call(ctx, c, request, c.stub.RegisterDevice)
}

// Unregister removes devices; what is queued for them ends CANCELLED.
func (c *Client) Unregister(
	ctx context.Context, request *pushrpcv1.UnregisterDeviceRequest,
) (*pushrpcv1.UnregisterDeviceResponse, error) {
	return call(ctx, c, request, c.stub.UnregisterDevice)
}

// UpdateDevice changes the fields of one device that update_mask names; a masked field that is empty is cleared.
func (c *Client) UpdateDevice(
	ctx context.Context, request *pushrpcv1.UpdateDeviceRequest,
) (*pushrpcv1.UpdateDeviceResponse, error) {
	return call(ctx, c, request, c.stub.UpdateDevice)
}

// GetDevice reads one device.
func (c *Client) GetDevice(
	ctx context.Context, request *pushrpcv1.GetDeviceRequest,
) (*pushrpcv1.GetDeviceResponse, error) {
	return call(ctx, c, request, c.stub.GetDevice)
}

// ListDevices reads one page of the app's devices, oldest first.
func (c *Client) ListDevices(
	ctx context.Context, request *pushrpcv1.ListDevicesRequest,
) (*pushrpcv1.ListDevicesResponse, error) {
	return call(ctx, c, request, c.stub.ListDevices)
}

// Cancel takes back what no provider has yet, and counts what was still in time.
func (c *Client) Cancel(
	ctx context.Context, request *pushrpcv1.CancelNotificationRequest,
) (*pushrpcv1.CancelNotificationResponse, error) {
	return call(ctx, c, request, c.stub.CancelNotification)
}

// GetNotification reads one notification with its counts.
func (c *Client) GetNotification(
	ctx context.Context, request *pushrpcv1.GetNotificationRequest,
) (*pushrpcv1.GetNotificationResponse, error) {
	return call(ctx, c, request, c.stub.GetNotification)
}

// ListNotifications reads one page of the app's notifications, newest first.
func (c *Client) ListNotifications(
	ctx context.Context, request *pushrpcv1.ListNotificationsRequest,
) (*pushrpcv1.ListNotificationsResponse, error) {
	return call(ctx, c, request, c.stub.ListNotifications)
}

// ListDeliveries reads one page of deliveries: what happened to this token, device, user or notification.
func (c *Client) ListDeliveries(
	ctx context.Context, request *pushrpcv1.ListDeliveriesRequest,
) (*pushrpcv1.ListDeliveriesResponse, error) {
	return call(ctx, c, request, c.stub.ListDeliveries)
}

// Preview shows what each provider would be sent, and sends nothing.
func (c *Client) Preview(
	ctx context.Context, request *pushrpcv1.PreviewNotificationRequest,
) (*pushrpcv1.PreviewNotificationResponse, error) {
	return call(ctx, c, request, c.stub.PreviewNotification)
}

// ReportEngagement keeps what apps saw of their notifications; followers get it as events.
func (c *Client) ReportEngagement(
	ctx context.Context, request *pushrpcv1.ReportEngagementRequest,
) (*pushrpcv1.ReportEngagementResponse, error) {
	return call(ctx, c, request, c.stub.ReportEngagement)
}

// SubscribeToTopic has tokens join a topic that the provider keeps.
func (c *Client) SubscribeToTopic(
	ctx context.Context, request *pushrpcv1.SubscribeToTopicRequest,
) (*pushrpcv1.SubscribeToTopicResponse, error) {
	return call(ctx, c, request, c.stub.SubscribeToTopic)
}

// UnsubscribeFromTopic has tokens leave a topic that the provider keeps.
func (c *Client) UnsubscribeFromTopic(
	ctx context.Context, request *pushrpcv1.UnsubscribeFromTopicRequest,
) (*pushrpcv1.UnsubscribeFromTopicResponse, error) {
	return call(ctx, c, request, c.stub.UnsubscribeFromTopic)
}

// CreateBroadcastChannel opens a broadcast channel at Apple. It is never repeated by itself: a repeat opens another.
func (c *Client) CreateBroadcastChannel(
	ctx context.Context, request *pushrpcv1.CreateBroadcastChannelRequest,
) (*pushrpcv1.CreateBroadcastChannelResponse, error) {
	return call(ctx, c, request, c.stub.CreateBroadcastChannel)
}

// ListBroadcastChannels tells the app's broadcast channels at Apple.
func (c *Client) ListBroadcastChannels(
	ctx context.Context, request *pushrpcv1.ListBroadcastChannelsRequest,
) (*pushrpcv1.ListBroadcastChannelsResponse, error) {
	return call(ctx, c, request, c.stub.ListBroadcastChannels)
}

// DeleteBroadcastChannel closes a broadcast channel at Apple.
func (c *Client) DeleteBroadcastChannel(
	ctx context.Context, request *pushrpcv1.DeleteBroadcastChannelRequest,
) (*pushrpcv1.DeleteBroadcastChannelResponse, error) {
	return call(ctx, c, request, c.stub.DeleteBroadcastChannel)
}

// GetServerInfo tells the server's version, limits and configured providers.
func (c *Client) GetServerInfo(
	ctx context.Context, request *pushrpcv1.GetServerInfoRequest,
) (*pushrpcv1.GetServerInfoResponse, error) {
	return call(ctx, c, request, c.stub.GetServerInfo)
}
