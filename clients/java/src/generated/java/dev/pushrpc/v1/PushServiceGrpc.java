package dev.pushrpc.v1;

import static io.grpc.MethodDescriptor.generateFullMethodName;

/**
 * <pre>
 * Push notifications with one typed, final answer for every token.
 * </pre>
 */
@io.grpc.stub.annotations.GrpcGenerated
public final class PushServiceGrpc {

  private PushServiceGrpc() {}

  public static final java.lang.String SERVICE_NAME = "pushrpc.v1.PushService";

  // Static method descriptors that strictly reflect the proto.
  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.RegisterDeviceRequest,
      dev.pushrpc.v1.RegisterDeviceResponse> getRegisterDeviceMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "RegisterDevice",
      requestType = dev.pushrpc.v1.RegisterDeviceRequest.class,
      responseType = dev.pushrpc.v1.RegisterDeviceResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.RegisterDeviceRequest,
      dev.pushrpc.v1.RegisterDeviceResponse> getRegisterDeviceMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.RegisterDeviceRequest, dev.pushrpc.v1.RegisterDeviceResponse> getRegisterDeviceMethod;
    if ((getRegisterDeviceMethod = PushServiceGrpc.getRegisterDeviceMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getRegisterDeviceMethod = PushServiceGrpc.getRegisterDeviceMethod) == null) {
          PushServiceGrpc.getRegisterDeviceMethod = getRegisterDeviceMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.RegisterDeviceRequest, dev.pushrpc.v1.RegisterDeviceResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "RegisterDevice"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.RegisterDeviceRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.RegisterDeviceResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("RegisterDevice"))
              .build();
        }
      }
    }
    return getRegisterDeviceMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.UpdateDeviceRequest,
      dev.pushrpc.v1.UpdateDeviceResponse> getUpdateDeviceMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UpdateDevice",
      requestType = dev.pushrpc.v1.UpdateDeviceRequest.class,
      responseType = dev.pushrpc.v1.UpdateDeviceResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.UpdateDeviceRequest,
      dev.pushrpc.v1.UpdateDeviceResponse> getUpdateDeviceMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.UpdateDeviceRequest, dev.pushrpc.v1.UpdateDeviceResponse> getUpdateDeviceMethod;
    if ((getUpdateDeviceMethod = PushServiceGrpc.getUpdateDeviceMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getUpdateDeviceMethod = PushServiceGrpc.getUpdateDeviceMethod) == null) {
          PushServiceGrpc.getUpdateDeviceMethod = getUpdateDeviceMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.UpdateDeviceRequest, dev.pushrpc.v1.UpdateDeviceResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UpdateDevice"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.UpdateDeviceRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.UpdateDeviceResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("UpdateDevice"))
              .build();
        }
      }
    }
    return getUpdateDeviceMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.UnregisterDeviceRequest,
      dev.pushrpc.v1.UnregisterDeviceResponse> getUnregisterDeviceMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UnregisterDevice",
      requestType = dev.pushrpc.v1.UnregisterDeviceRequest.class,
      responseType = dev.pushrpc.v1.UnregisterDeviceResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.UnregisterDeviceRequest,
      dev.pushrpc.v1.UnregisterDeviceResponse> getUnregisterDeviceMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.UnregisterDeviceRequest, dev.pushrpc.v1.UnregisterDeviceResponse> getUnregisterDeviceMethod;
    if ((getUnregisterDeviceMethod = PushServiceGrpc.getUnregisterDeviceMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getUnregisterDeviceMethod = PushServiceGrpc.getUnregisterDeviceMethod) == null) {
          PushServiceGrpc.getUnregisterDeviceMethod = getUnregisterDeviceMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.UnregisterDeviceRequest, dev.pushrpc.v1.UnregisterDeviceResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UnregisterDevice"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.UnregisterDeviceRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.UnregisterDeviceResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("UnregisterDevice"))
              .build();
        }
      }
    }
    return getUnregisterDeviceMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.GetDeviceRequest,
      dev.pushrpc.v1.GetDeviceResponse> getGetDeviceMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetDevice",
      requestType = dev.pushrpc.v1.GetDeviceRequest.class,
      responseType = dev.pushrpc.v1.GetDeviceResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.GetDeviceRequest,
      dev.pushrpc.v1.GetDeviceResponse> getGetDeviceMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.GetDeviceRequest, dev.pushrpc.v1.GetDeviceResponse> getGetDeviceMethod;
    if ((getGetDeviceMethod = PushServiceGrpc.getGetDeviceMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getGetDeviceMethod = PushServiceGrpc.getGetDeviceMethod) == null) {
          PushServiceGrpc.getGetDeviceMethod = getGetDeviceMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.GetDeviceRequest, dev.pushrpc.v1.GetDeviceResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetDevice"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.GetDeviceRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.GetDeviceResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("GetDevice"))
              .build();
        }
      }
    }
    return getGetDeviceMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.ListDevicesRequest,
      dev.pushrpc.v1.ListDevicesResponse> getListDevicesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListDevices",
      requestType = dev.pushrpc.v1.ListDevicesRequest.class,
      responseType = dev.pushrpc.v1.ListDevicesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.ListDevicesRequest,
      dev.pushrpc.v1.ListDevicesResponse> getListDevicesMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.ListDevicesRequest, dev.pushrpc.v1.ListDevicesResponse> getListDevicesMethod;
    if ((getListDevicesMethod = PushServiceGrpc.getListDevicesMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getListDevicesMethod = PushServiceGrpc.getListDevicesMethod) == null) {
          PushServiceGrpc.getListDevicesMethod = getListDevicesMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.ListDevicesRequest, dev.pushrpc.v1.ListDevicesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListDevices"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ListDevicesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ListDevicesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("ListDevices"))
              .build();
        }
      }
    }
    return getListDevicesMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.SendNotificationRequest,
      dev.pushrpc.v1.SendNotificationResponse> getSendNotificationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "SendNotification",
      requestType = dev.pushrpc.v1.SendNotificationRequest.class,
      responseType = dev.pushrpc.v1.SendNotificationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.SendNotificationRequest,
      dev.pushrpc.v1.SendNotificationResponse> getSendNotificationMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.SendNotificationRequest, dev.pushrpc.v1.SendNotificationResponse> getSendNotificationMethod;
    if ((getSendNotificationMethod = PushServiceGrpc.getSendNotificationMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getSendNotificationMethod = PushServiceGrpc.getSendNotificationMethod) == null) {
          PushServiceGrpc.getSendNotificationMethod = getSendNotificationMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.SendNotificationRequest, dev.pushrpc.v1.SendNotificationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "SendNotification"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.SendNotificationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.SendNotificationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("SendNotification"))
              .build();
        }
      }
    }
    return getSendNotificationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.SendNotificationsRequest,
      dev.pushrpc.v1.SendNotificationsResponse> getSendNotificationsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "SendNotifications",
      requestType = dev.pushrpc.v1.SendNotificationsRequest.class,
      responseType = dev.pushrpc.v1.SendNotificationsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.BIDI_STREAMING)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.SendNotificationsRequest,
      dev.pushrpc.v1.SendNotificationsResponse> getSendNotificationsMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.SendNotificationsRequest, dev.pushrpc.v1.SendNotificationsResponse> getSendNotificationsMethod;
    if ((getSendNotificationsMethod = PushServiceGrpc.getSendNotificationsMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getSendNotificationsMethod = PushServiceGrpc.getSendNotificationsMethod) == null) {
          PushServiceGrpc.getSendNotificationsMethod = getSendNotificationsMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.SendNotificationsRequest, dev.pushrpc.v1.SendNotificationsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.BIDI_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "SendNotifications"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.SendNotificationsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.SendNotificationsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("SendNotifications"))
              .build();
        }
      }
    }
    return getSendNotificationsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.GetNotificationRequest,
      dev.pushrpc.v1.GetNotificationResponse> getGetNotificationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetNotification",
      requestType = dev.pushrpc.v1.GetNotificationRequest.class,
      responseType = dev.pushrpc.v1.GetNotificationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.GetNotificationRequest,
      dev.pushrpc.v1.GetNotificationResponse> getGetNotificationMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.GetNotificationRequest, dev.pushrpc.v1.GetNotificationResponse> getGetNotificationMethod;
    if ((getGetNotificationMethod = PushServiceGrpc.getGetNotificationMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getGetNotificationMethod = PushServiceGrpc.getGetNotificationMethod) == null) {
          PushServiceGrpc.getGetNotificationMethod = getGetNotificationMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.GetNotificationRequest, dev.pushrpc.v1.GetNotificationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetNotification"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.GetNotificationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.GetNotificationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("GetNotification"))
              .build();
        }
      }
    }
    return getGetNotificationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.ListNotificationsRequest,
      dev.pushrpc.v1.ListNotificationsResponse> getListNotificationsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListNotifications",
      requestType = dev.pushrpc.v1.ListNotificationsRequest.class,
      responseType = dev.pushrpc.v1.ListNotificationsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.ListNotificationsRequest,
      dev.pushrpc.v1.ListNotificationsResponse> getListNotificationsMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.ListNotificationsRequest, dev.pushrpc.v1.ListNotificationsResponse> getListNotificationsMethod;
    if ((getListNotificationsMethod = PushServiceGrpc.getListNotificationsMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getListNotificationsMethod = PushServiceGrpc.getListNotificationsMethod) == null) {
          PushServiceGrpc.getListNotificationsMethod = getListNotificationsMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.ListNotificationsRequest, dev.pushrpc.v1.ListNotificationsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListNotifications"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ListNotificationsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ListNotificationsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("ListNotifications"))
              .build();
        }
      }
    }
    return getListNotificationsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.ListDeliveriesRequest,
      dev.pushrpc.v1.ListDeliveriesResponse> getListDeliveriesMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListDeliveries",
      requestType = dev.pushrpc.v1.ListDeliveriesRequest.class,
      responseType = dev.pushrpc.v1.ListDeliveriesResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.ListDeliveriesRequest,
      dev.pushrpc.v1.ListDeliveriesResponse> getListDeliveriesMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.ListDeliveriesRequest, dev.pushrpc.v1.ListDeliveriesResponse> getListDeliveriesMethod;
    if ((getListDeliveriesMethod = PushServiceGrpc.getListDeliveriesMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getListDeliveriesMethod = PushServiceGrpc.getListDeliveriesMethod) == null) {
          PushServiceGrpc.getListDeliveriesMethod = getListDeliveriesMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.ListDeliveriesRequest, dev.pushrpc.v1.ListDeliveriesResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListDeliveries"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ListDeliveriesRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ListDeliveriesResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("ListDeliveries"))
              .build();
        }
      }
    }
    return getListDeliveriesMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.PreviewNotificationRequest,
      dev.pushrpc.v1.PreviewNotificationResponse> getPreviewNotificationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "PreviewNotification",
      requestType = dev.pushrpc.v1.PreviewNotificationRequest.class,
      responseType = dev.pushrpc.v1.PreviewNotificationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.PreviewNotificationRequest,
      dev.pushrpc.v1.PreviewNotificationResponse> getPreviewNotificationMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.PreviewNotificationRequest, dev.pushrpc.v1.PreviewNotificationResponse> getPreviewNotificationMethod;
    if ((getPreviewNotificationMethod = PushServiceGrpc.getPreviewNotificationMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getPreviewNotificationMethod = PushServiceGrpc.getPreviewNotificationMethod) == null) {
          PushServiceGrpc.getPreviewNotificationMethod = getPreviewNotificationMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.PreviewNotificationRequest, dev.pushrpc.v1.PreviewNotificationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "PreviewNotification"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.PreviewNotificationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.PreviewNotificationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("PreviewNotification"))
              .build();
        }
      }
    }
    return getPreviewNotificationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.CancelNotificationRequest,
      dev.pushrpc.v1.CancelNotificationResponse> getCancelNotificationMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CancelNotification",
      requestType = dev.pushrpc.v1.CancelNotificationRequest.class,
      responseType = dev.pushrpc.v1.CancelNotificationResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.CancelNotificationRequest,
      dev.pushrpc.v1.CancelNotificationResponse> getCancelNotificationMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.CancelNotificationRequest, dev.pushrpc.v1.CancelNotificationResponse> getCancelNotificationMethod;
    if ((getCancelNotificationMethod = PushServiceGrpc.getCancelNotificationMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getCancelNotificationMethod = PushServiceGrpc.getCancelNotificationMethod) == null) {
          PushServiceGrpc.getCancelNotificationMethod = getCancelNotificationMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.CancelNotificationRequest, dev.pushrpc.v1.CancelNotificationResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CancelNotification"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.CancelNotificationRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.CancelNotificationResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("CancelNotification"))
              .build();
        }
      }
    }
    return getCancelNotificationMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.StreamDeliveryStatusRequest,
      dev.pushrpc.v1.StreamDeliveryStatusResponse> getStreamDeliveryStatusMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "StreamDeliveryStatus",
      requestType = dev.pushrpc.v1.StreamDeliveryStatusRequest.class,
      responseType = dev.pushrpc.v1.StreamDeliveryStatusResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.StreamDeliveryStatusRequest,
      dev.pushrpc.v1.StreamDeliveryStatusResponse> getStreamDeliveryStatusMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.StreamDeliveryStatusRequest, dev.pushrpc.v1.StreamDeliveryStatusResponse> getStreamDeliveryStatusMethod;
    if ((getStreamDeliveryStatusMethod = PushServiceGrpc.getStreamDeliveryStatusMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getStreamDeliveryStatusMethod = PushServiceGrpc.getStreamDeliveryStatusMethod) == null) {
          PushServiceGrpc.getStreamDeliveryStatusMethod = getStreamDeliveryStatusMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.StreamDeliveryStatusRequest, dev.pushrpc.v1.StreamDeliveryStatusResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.SERVER_STREAMING)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "StreamDeliveryStatus"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.StreamDeliveryStatusRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.StreamDeliveryStatusResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("StreamDeliveryStatus"))
              .build();
        }
      }
    }
    return getStreamDeliveryStatusMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.ReportEngagementRequest,
      dev.pushrpc.v1.ReportEngagementResponse> getReportEngagementMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ReportEngagement",
      requestType = dev.pushrpc.v1.ReportEngagementRequest.class,
      responseType = dev.pushrpc.v1.ReportEngagementResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.ReportEngagementRequest,
      dev.pushrpc.v1.ReportEngagementResponse> getReportEngagementMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.ReportEngagementRequest, dev.pushrpc.v1.ReportEngagementResponse> getReportEngagementMethod;
    if ((getReportEngagementMethod = PushServiceGrpc.getReportEngagementMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getReportEngagementMethod = PushServiceGrpc.getReportEngagementMethod) == null) {
          PushServiceGrpc.getReportEngagementMethod = getReportEngagementMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.ReportEngagementRequest, dev.pushrpc.v1.ReportEngagementResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ReportEngagement"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ReportEngagementRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ReportEngagementResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("ReportEngagement"))
              .build();
        }
      }
    }
    return getReportEngagementMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.SubscribeToTopicRequest,
      dev.pushrpc.v1.SubscribeToTopicResponse> getSubscribeToTopicMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "SubscribeToTopic",
      requestType = dev.pushrpc.v1.SubscribeToTopicRequest.class,
      responseType = dev.pushrpc.v1.SubscribeToTopicResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.SubscribeToTopicRequest,
      dev.pushrpc.v1.SubscribeToTopicResponse> getSubscribeToTopicMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.SubscribeToTopicRequest, dev.pushrpc.v1.SubscribeToTopicResponse> getSubscribeToTopicMethod;
    if ((getSubscribeToTopicMethod = PushServiceGrpc.getSubscribeToTopicMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getSubscribeToTopicMethod = PushServiceGrpc.getSubscribeToTopicMethod) == null) {
          PushServiceGrpc.getSubscribeToTopicMethod = getSubscribeToTopicMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.SubscribeToTopicRequest, dev.pushrpc.v1.SubscribeToTopicResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "SubscribeToTopic"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.SubscribeToTopicRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.SubscribeToTopicResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("SubscribeToTopic"))
              .build();
        }
      }
    }
    return getSubscribeToTopicMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.UnsubscribeFromTopicRequest,
      dev.pushrpc.v1.UnsubscribeFromTopicResponse> getUnsubscribeFromTopicMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "UnsubscribeFromTopic",
      requestType = dev.pushrpc.v1.UnsubscribeFromTopicRequest.class,
      responseType = dev.pushrpc.v1.UnsubscribeFromTopicResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.UnsubscribeFromTopicRequest,
      dev.pushrpc.v1.UnsubscribeFromTopicResponse> getUnsubscribeFromTopicMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.UnsubscribeFromTopicRequest, dev.pushrpc.v1.UnsubscribeFromTopicResponse> getUnsubscribeFromTopicMethod;
    if ((getUnsubscribeFromTopicMethod = PushServiceGrpc.getUnsubscribeFromTopicMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getUnsubscribeFromTopicMethod = PushServiceGrpc.getUnsubscribeFromTopicMethod) == null) {
          PushServiceGrpc.getUnsubscribeFromTopicMethod = getUnsubscribeFromTopicMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.UnsubscribeFromTopicRequest, dev.pushrpc.v1.UnsubscribeFromTopicResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "UnsubscribeFromTopic"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.UnsubscribeFromTopicRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.UnsubscribeFromTopicResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("UnsubscribeFromTopic"))
              .build();
        }
      }
    }
    return getUnsubscribeFromTopicMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.CreateBroadcastChannelRequest,
      dev.pushrpc.v1.CreateBroadcastChannelResponse> getCreateBroadcastChannelMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "CreateBroadcastChannel",
      requestType = dev.pushrpc.v1.CreateBroadcastChannelRequest.class,
      responseType = dev.pushrpc.v1.CreateBroadcastChannelResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.CreateBroadcastChannelRequest,
      dev.pushrpc.v1.CreateBroadcastChannelResponse> getCreateBroadcastChannelMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.CreateBroadcastChannelRequest, dev.pushrpc.v1.CreateBroadcastChannelResponse> getCreateBroadcastChannelMethod;
    if ((getCreateBroadcastChannelMethod = PushServiceGrpc.getCreateBroadcastChannelMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getCreateBroadcastChannelMethod = PushServiceGrpc.getCreateBroadcastChannelMethod) == null) {
          PushServiceGrpc.getCreateBroadcastChannelMethod = getCreateBroadcastChannelMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.CreateBroadcastChannelRequest, dev.pushrpc.v1.CreateBroadcastChannelResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "CreateBroadcastChannel"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.CreateBroadcastChannelRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.CreateBroadcastChannelResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("CreateBroadcastChannel"))
              .build();
        }
      }
    }
    return getCreateBroadcastChannelMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.ListBroadcastChannelsRequest,
      dev.pushrpc.v1.ListBroadcastChannelsResponse> getListBroadcastChannelsMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "ListBroadcastChannels",
      requestType = dev.pushrpc.v1.ListBroadcastChannelsRequest.class,
      responseType = dev.pushrpc.v1.ListBroadcastChannelsResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.ListBroadcastChannelsRequest,
      dev.pushrpc.v1.ListBroadcastChannelsResponse> getListBroadcastChannelsMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.ListBroadcastChannelsRequest, dev.pushrpc.v1.ListBroadcastChannelsResponse> getListBroadcastChannelsMethod;
    if ((getListBroadcastChannelsMethod = PushServiceGrpc.getListBroadcastChannelsMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getListBroadcastChannelsMethod = PushServiceGrpc.getListBroadcastChannelsMethod) == null) {
          PushServiceGrpc.getListBroadcastChannelsMethod = getListBroadcastChannelsMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.ListBroadcastChannelsRequest, dev.pushrpc.v1.ListBroadcastChannelsResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "ListBroadcastChannels"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ListBroadcastChannelsRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.ListBroadcastChannelsResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("ListBroadcastChannels"))
              .build();
        }
      }
    }
    return getListBroadcastChannelsMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.DeleteBroadcastChannelRequest,
      dev.pushrpc.v1.DeleteBroadcastChannelResponse> getDeleteBroadcastChannelMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "DeleteBroadcastChannel",
      requestType = dev.pushrpc.v1.DeleteBroadcastChannelRequest.class,
      responseType = dev.pushrpc.v1.DeleteBroadcastChannelResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.DeleteBroadcastChannelRequest,
      dev.pushrpc.v1.DeleteBroadcastChannelResponse> getDeleteBroadcastChannelMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.DeleteBroadcastChannelRequest, dev.pushrpc.v1.DeleteBroadcastChannelResponse> getDeleteBroadcastChannelMethod;
    if ((getDeleteBroadcastChannelMethod = PushServiceGrpc.getDeleteBroadcastChannelMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getDeleteBroadcastChannelMethod = PushServiceGrpc.getDeleteBroadcastChannelMethod) == null) {
          PushServiceGrpc.getDeleteBroadcastChannelMethod = getDeleteBroadcastChannelMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.DeleteBroadcastChannelRequest, dev.pushrpc.v1.DeleteBroadcastChannelResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "DeleteBroadcastChannel"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.DeleteBroadcastChannelRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.DeleteBroadcastChannelResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("DeleteBroadcastChannel"))
              .build();
        }
      }
    }
    return getDeleteBroadcastChannelMethod;
  }

  private static volatile io.grpc.MethodDescriptor<dev.pushrpc.v1.GetServerInfoRequest,
      dev.pushrpc.v1.GetServerInfoResponse> getGetServerInfoMethod;

  @io.grpc.stub.annotations.RpcMethod(
      fullMethodName = SERVICE_NAME + '/' + "GetServerInfo",
      requestType = dev.pushrpc.v1.GetServerInfoRequest.class,
      responseType = dev.pushrpc.v1.GetServerInfoResponse.class,
      methodType = io.grpc.MethodDescriptor.MethodType.UNARY)
  public static io.grpc.MethodDescriptor<dev.pushrpc.v1.GetServerInfoRequest,
      dev.pushrpc.v1.GetServerInfoResponse> getGetServerInfoMethod() {
    io.grpc.MethodDescriptor<dev.pushrpc.v1.GetServerInfoRequest, dev.pushrpc.v1.GetServerInfoResponse> getGetServerInfoMethod;
    if ((getGetServerInfoMethod = PushServiceGrpc.getGetServerInfoMethod) == null) {
      synchronized (PushServiceGrpc.class) {
        if ((getGetServerInfoMethod = PushServiceGrpc.getGetServerInfoMethod) == null) {
          PushServiceGrpc.getGetServerInfoMethod = getGetServerInfoMethod =
              io.grpc.MethodDescriptor.<dev.pushrpc.v1.GetServerInfoRequest, dev.pushrpc.v1.GetServerInfoResponse>newBuilder()
              .setType(io.grpc.MethodDescriptor.MethodType.UNARY)
              .setFullMethodName(generateFullMethodName(SERVICE_NAME, "GetServerInfo"))
              .setSampledToLocalTracing(true)
              .setRequestMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.GetServerInfoRequest.getDefaultInstance()))
              .setResponseMarshaller(io.grpc.protobuf.ProtoUtils.marshaller(
                  dev.pushrpc.v1.GetServerInfoResponse.getDefaultInstance()))
              .setSchemaDescriptor(new PushServiceMethodDescriptorSupplier("GetServerInfo"))
              .build();
        }
      }
    }
    return getGetServerInfoMethod;
  }

  /**
   * Creates a new async stub that supports all call types for the service
   */
  public static PushServiceStub newStub(io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<PushServiceStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<PushServiceStub>() {
        @java.lang.Override
        public PushServiceStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new PushServiceStub(channel, callOptions);
        }
      };
    return PushServiceStub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports all types of calls on the service
   */
  public static PushServiceBlockingV2Stub newBlockingV2Stub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<PushServiceBlockingV2Stub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<PushServiceBlockingV2Stub>() {
        @java.lang.Override
        public PushServiceBlockingV2Stub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new PushServiceBlockingV2Stub(channel, callOptions);
        }
      };
    return PushServiceBlockingV2Stub.newStub(factory, channel);
  }

  /**
   * Creates a new blocking-style stub that supports unary and streaming output calls on the service
   */
  public static PushServiceBlockingStub newBlockingStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<PushServiceBlockingStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<PushServiceBlockingStub>() {
        @java.lang.Override
        public PushServiceBlockingStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new PushServiceBlockingStub(channel, callOptions);
        }
      };
    return PushServiceBlockingStub.newStub(factory, channel);
  }

  /**
   * Creates a new ListenableFuture-style stub that supports unary calls on the service
   */
  public static PushServiceFutureStub newFutureStub(
      io.grpc.Channel channel) {
    io.grpc.stub.AbstractStub.StubFactory<PushServiceFutureStub> factory =
      new io.grpc.stub.AbstractStub.StubFactory<PushServiceFutureStub>() {
        @java.lang.Override
        public PushServiceFutureStub newStub(io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
          return new PushServiceFutureStub(channel, callOptions);
        }
      };
    return PushServiceFutureStub.newStub(factory, channel);
  }

  /**
   * <pre>
   * Push notifications with one typed, final answer for every token.
   * </pre>
   */
  public interface AsyncService {

    /**
     * <pre>
     * Upserts one provider token; the newest registration of a token wins it.
     * Fails with FIELD_REQUIRED, TOKEN_MALFORMED, WEB_PUSH_KEYS_INVALID, ENDPOINT_FORBIDDEN, PROVIDER_RETIRED,
     * PROVIDER_NOT_CONFIGURED.
     * </pre>
     */
    default void registerDevice(dev.pushrpc.v1.RegisterDeviceRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.RegisterDeviceResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getRegisterDeviceMethod(), responseObserver);
    }

    /**
     * <pre>
     * Changes named fields of one device.
     * </pre>
     */
    default void updateDevice(dev.pushrpc.v1.UpdateDeviceRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.UpdateDeviceResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUpdateDeviceMethod(), responseObserver);
    }

    /**
     * <pre>
     * Removes devices; what is queued for them ends CANCELLED, DEVICE_REMOVED.
     * </pre>
     */
    default void unregisterDevice(dev.pushrpc.v1.UnregisterDeviceRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.UnregisterDeviceResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUnregisterDeviceMethod(), responseObserver);
    }

    /**
     * <pre>
     * Reads one device.
     * </pre>
     */
    default void getDevice(dev.pushrpc.v1.GetDeviceRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetDeviceResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetDeviceMethod(), responseObserver);
    }

    /**
     * <pre>
     * Pages through an app's devices.
     * </pre>
     */
    default void listDevices(dev.pushrpc.v1.ListDevicesRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListDevicesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListDevicesMethod(), responseObserver);
    }

    /**
     * <pre>
     * Accepts one notification durably and answers with its receipt.
     * Partial failure is OK with typed rejections; the call fails only when it is malformed or over quota.
     * </pre>
     */
    default void sendNotification(dev.pushrpc.v1.SendNotificationRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.SendNotificationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSendNotificationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Accepts many small notifications over one stream; a bad send never ends it.
     * The server's pace is the back-pressure.
     * </pre>
     */
    default io.grpc.stub.StreamObserver<dev.pushrpc.v1.SendNotificationsRequest> sendNotifications(
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.SendNotificationsResponse> responseObserver) {
      return io.grpc.stub.ServerCalls.asyncUnimplementedStreamingCall(getSendNotificationsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Reads one notification with its counts.
     * </pre>
     */
    default void getNotification(dev.pushrpc.v1.GetNotificationRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetNotificationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetNotificationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Pages through an app's notifications.
     * </pre>
     */
    default void listNotifications(dev.pushrpc.v1.ListNotificationsRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListNotificationsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListNotificationsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Pages through deliveries, the answer to "what happened to this token?".
     * </pre>
     */
    default void listDeliveries(dev.pushrpc.v1.ListDeliveriesRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListDeliveriesResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListDeliveriesMethod(), responseObserver);
    }

    /**
     * <pre>
     * Shows what each provider would be sent, and sends nothing.
     * </pre>
     */
    default void previewNotification(dev.pushrpc.v1.PreviewNotificationRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.PreviewNotificationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getPreviewNotificationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Takes back what no provider has yet.
     * </pre>
     */
    default void cancelNotification(dev.pushrpc.v1.CancelNotificationRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.CancelNotificationResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCancelNotificationMethod(), responseObserver);
    }

    /**
     * <pre>
     * Streams every change of deliveries, resumable from any cursor without gap or repeat.
     * </pre>
     */
    default void streamDeliveryStatus(dev.pushrpc.v1.StreamDeliveryStatusRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.StreamDeliveryStatusResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getStreamDeliveryStatusMethod(), responseObserver);
    }

    /**
     * <pre>
     * Keeps what apps report of their notifications; followers get it as ENGAGEMENT events.
     * </pre>
     */
    default void reportEngagement(dev.pushrpc.v1.ReportEngagementRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ReportEngagementResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getReportEngagementMethod(), responseObserver);
    }

    /**
     * <pre>
     * Has tokens join a topic that the provider keeps.
     * </pre>
     */
    default void subscribeToTopic(dev.pushrpc.v1.SubscribeToTopicRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.SubscribeToTopicResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getSubscribeToTopicMethod(), responseObserver);
    }

    /**
     * <pre>
     * Has tokens leave a topic that the provider keeps.
     * </pre>
     */
    default void unsubscribeFromTopic(dev.pushrpc.v1.UnsubscribeFromTopicRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.UnsubscribeFromTopicResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getUnsubscribeFromTopicMethod(), responseObserver);
    }

    /**
     * <pre>
     * Opens a broadcast channel at Apple.
     * </pre>
     */
    default void createBroadcastChannel(dev.pushrpc.v1.CreateBroadcastChannelRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.CreateBroadcastChannelResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getCreateBroadcastChannelMethod(), responseObserver);
    }

    /**
     * <pre>
     * Tells the app's broadcast channels.
     * </pre>
     */
    default void listBroadcastChannels(dev.pushrpc.v1.ListBroadcastChannelsRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListBroadcastChannelsResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getListBroadcastChannelsMethod(), responseObserver);
    }

    /**
     * <pre>
     * Closes a broadcast channel.
     * </pre>
     */
    default void deleteBroadcastChannel(dev.pushrpc.v1.DeleteBroadcastChannelRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.DeleteBroadcastChannelResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getDeleteBroadcastChannelMethod(), responseObserver);
    }

    /**
     * <pre>
     * Tells versions, limits and configured providers.
     * </pre>
     */
    default void getServerInfo(dev.pushrpc.v1.GetServerInfoRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetServerInfoResponse> responseObserver) {
      io.grpc.stub.ServerCalls.asyncUnimplementedUnaryCall(getGetServerInfoMethod(), responseObserver);
    }
  }

  /**
   * Base class for the server implementation of the service PushService.
   * <pre>
   * Push notifications with one typed, final answer for every token.
   * </pre>
   */
  public static abstract class PushServiceImplBase
      implements io.grpc.BindableService, AsyncService {

    @java.lang.Override public final io.grpc.ServerServiceDefinition bindService() {
      return PushServiceGrpc.bindService(this);
    }
  }

  /**
   * A stub to allow clients to do asynchronous rpc calls to service PushService.
   * <pre>
   * Push notifications with one typed, final answer for every token.
   * </pre>
   */
  public static final class PushServiceStub
      extends io.grpc.stub.AbstractAsyncStub<PushServiceStub> {
    private PushServiceStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected PushServiceStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new PushServiceStub(channel, callOptions);
    }

    /**
     * <pre>
     * Upserts one provider token; the newest registration of a token wins it.
     * Fails with FIELD_REQUIRED, TOKEN_MALFORMED, WEB_PUSH_KEYS_INVALID, ENDPOINT_FORBIDDEN, PROVIDER_RETIRED,
     * PROVIDER_NOT_CONFIGURED.
     * </pre>
     */
    public void registerDevice(dev.pushrpc.v1.RegisterDeviceRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.RegisterDeviceResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getRegisterDeviceMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Changes named fields of one device.
     * </pre>
     */
    public void updateDevice(dev.pushrpc.v1.UpdateDeviceRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.UpdateDeviceResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUpdateDeviceMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Removes devices; what is queued for them ends CANCELLED, DEVICE_REMOVED.
     * </pre>
     */
    public void unregisterDevice(dev.pushrpc.v1.UnregisterDeviceRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.UnregisterDeviceResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUnregisterDeviceMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Reads one device.
     * </pre>
     */
    public void getDevice(dev.pushrpc.v1.GetDeviceRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetDeviceResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetDeviceMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Pages through an app's devices.
     * </pre>
     */
    public void listDevices(dev.pushrpc.v1.ListDevicesRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListDevicesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListDevicesMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Accepts one notification durably and answers with its receipt.
     * Partial failure is OK with typed rejections; the call fails only when it is malformed or over quota.
     * </pre>
     */
    public void sendNotification(dev.pushrpc.v1.SendNotificationRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.SendNotificationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getSendNotificationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Accepts many small notifications over one stream; a bad send never ends it.
     * The server's pace is the back-pressure.
     * </pre>
     */
    public io.grpc.stub.StreamObserver<dev.pushrpc.v1.SendNotificationsRequest> sendNotifications(
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.SendNotificationsResponse> responseObserver) {
      return io.grpc.stub.ClientCalls.asyncBidiStreamingCall(
          getChannel().newCall(getSendNotificationsMethod(), getCallOptions()), responseObserver);
    }

    /**
     * <pre>
     * Reads one notification with its counts.
     * </pre>
     */
    public void getNotification(dev.pushrpc.v1.GetNotificationRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetNotificationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetNotificationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Pages through an app's notifications.
     * </pre>
     */
    public void listNotifications(dev.pushrpc.v1.ListNotificationsRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListNotificationsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListNotificationsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Pages through deliveries, the answer to "what happened to this token?".
     * </pre>
     */
    public void listDeliveries(dev.pushrpc.v1.ListDeliveriesRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListDeliveriesResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListDeliveriesMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Shows what each provider would be sent, and sends nothing.
     * </pre>
     */
    public void previewNotification(dev.pushrpc.v1.PreviewNotificationRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.PreviewNotificationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getPreviewNotificationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Takes back what no provider has yet.
     * </pre>
     */
    public void cancelNotification(dev.pushrpc.v1.CancelNotificationRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.CancelNotificationResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCancelNotificationMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Streams every change of deliveries, resumable from any cursor without gap or repeat.
     * </pre>
     */
    public void streamDeliveryStatus(dev.pushrpc.v1.StreamDeliveryStatusRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.StreamDeliveryStatusResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncServerStreamingCall(
          getChannel().newCall(getStreamDeliveryStatusMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Keeps what apps report of their notifications; followers get it as ENGAGEMENT events.
     * </pre>
     */
    public void reportEngagement(dev.pushrpc.v1.ReportEngagementRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ReportEngagementResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getReportEngagementMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Has tokens join a topic that the provider keeps.
     * </pre>
     */
    public void subscribeToTopic(dev.pushrpc.v1.SubscribeToTopicRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.SubscribeToTopicResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getSubscribeToTopicMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Has tokens leave a topic that the provider keeps.
     * </pre>
     */
    public void unsubscribeFromTopic(dev.pushrpc.v1.UnsubscribeFromTopicRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.UnsubscribeFromTopicResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getUnsubscribeFromTopicMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Opens a broadcast channel at Apple.
     * </pre>
     */
    public void createBroadcastChannel(dev.pushrpc.v1.CreateBroadcastChannelRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.CreateBroadcastChannelResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getCreateBroadcastChannelMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Tells the app's broadcast channels.
     * </pre>
     */
    public void listBroadcastChannels(dev.pushrpc.v1.ListBroadcastChannelsRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListBroadcastChannelsResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getListBroadcastChannelsMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Closes a broadcast channel.
     * </pre>
     */
    public void deleteBroadcastChannel(dev.pushrpc.v1.DeleteBroadcastChannelRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.DeleteBroadcastChannelResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getDeleteBroadcastChannelMethod(), getCallOptions()), request, responseObserver);
    }

    /**
     * <pre>
     * Tells versions, limits and configured providers.
     * </pre>
     */
    public void getServerInfo(dev.pushrpc.v1.GetServerInfoRequest request,
        io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetServerInfoResponse> responseObserver) {
      io.grpc.stub.ClientCalls.asyncUnaryCall(
          getChannel().newCall(getGetServerInfoMethod(), getCallOptions()), request, responseObserver);
    }
  }

  /**
   * A stub to allow clients to do synchronous rpc calls to service PushService.
   * <pre>
   * Push notifications with one typed, final answer for every token.
   * </pre>
   */
  public static final class PushServiceBlockingV2Stub
      extends io.grpc.stub.AbstractBlockingStub<PushServiceBlockingV2Stub> {
    private PushServiceBlockingV2Stub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected PushServiceBlockingV2Stub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new PushServiceBlockingV2Stub(channel, callOptions);
    }

    /**
     * <pre>
     * Upserts one provider token; the newest registration of a token wins it.
     * Fails with FIELD_REQUIRED, TOKEN_MALFORMED, WEB_PUSH_KEYS_INVALID, ENDPOINT_FORBIDDEN, PROVIDER_RETIRED,
     * PROVIDER_NOT_CONFIGURED.
     * </pre>
     */
    public dev.pushrpc.v1.RegisterDeviceResponse registerDevice(dev.pushrpc.v1.RegisterDeviceRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getRegisterDeviceMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes named fields of one device.
     * </pre>
     */
    public dev.pushrpc.v1.UpdateDeviceResponse updateDevice(dev.pushrpc.v1.UpdateDeviceRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUpdateDeviceMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes devices; what is queued for them ends CANCELLED, DEVICE_REMOVED.
     * </pre>
     */
    public dev.pushrpc.v1.UnregisterDeviceResponse unregisterDevice(dev.pushrpc.v1.UnregisterDeviceRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUnregisterDeviceMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads one device.
     * </pre>
     */
    public dev.pushrpc.v1.GetDeviceResponse getDevice(dev.pushrpc.v1.GetDeviceRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetDeviceMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Pages through an app's devices.
     * </pre>
     */
    public dev.pushrpc.v1.ListDevicesResponse listDevices(dev.pushrpc.v1.ListDevicesRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListDevicesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Accepts one notification durably and answers with its receipt.
     * Partial failure is OK with typed rejections; the call fails only when it is malformed or over quota.
     * </pre>
     */
    public dev.pushrpc.v1.SendNotificationResponse sendNotification(dev.pushrpc.v1.SendNotificationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getSendNotificationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Accepts many small notifications over one stream; a bad send never ends it.
     * The server's pace is the back-pressure.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<dev.pushrpc.v1.SendNotificationsRequest, dev.pushrpc.v1.SendNotificationsResponse>
        sendNotifications() {
      return io.grpc.stub.ClientCalls.blockingBidiStreamingCall(
          getChannel(), getSendNotificationsMethod(), getCallOptions());
    }

    /**
     * <pre>
     * Reads one notification with its counts.
     * </pre>
     */
    public dev.pushrpc.v1.GetNotificationResponse getNotification(dev.pushrpc.v1.GetNotificationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetNotificationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Pages through an app's notifications.
     * </pre>
     */
    public dev.pushrpc.v1.ListNotificationsResponse listNotifications(dev.pushrpc.v1.ListNotificationsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListNotificationsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Pages through deliveries, the answer to "what happened to this token?".
     * </pre>
     */
    public dev.pushrpc.v1.ListDeliveriesResponse listDeliveries(dev.pushrpc.v1.ListDeliveriesRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListDeliveriesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Shows what each provider would be sent, and sends nothing.
     * </pre>
     */
    public dev.pushrpc.v1.PreviewNotificationResponse previewNotification(dev.pushrpc.v1.PreviewNotificationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getPreviewNotificationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Takes back what no provider has yet.
     * </pre>
     */
    public dev.pushrpc.v1.CancelNotificationResponse cancelNotification(dev.pushrpc.v1.CancelNotificationRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCancelNotificationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Streams every change of deliveries, resumable from any cursor without gap or repeat.
     * </pre>
     */
    @io.grpc.ExperimentalApi("https://github.com/grpc/grpc-java/issues/10918")
    public io.grpc.stub.BlockingClientCall<?, dev.pushrpc.v1.StreamDeliveryStatusResponse>
        streamDeliveryStatus(dev.pushrpc.v1.StreamDeliveryStatusRequest request) {
      return io.grpc.stub.ClientCalls.blockingV2ServerStreamingCall(
          getChannel(), getStreamDeliveryStatusMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Keeps what apps report of their notifications; followers get it as ENGAGEMENT events.
     * </pre>
     */
    public dev.pushrpc.v1.ReportEngagementResponse reportEngagement(dev.pushrpc.v1.ReportEngagementRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getReportEngagementMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Has tokens join a topic that the provider keeps.
     * </pre>
     */
    public dev.pushrpc.v1.SubscribeToTopicResponse subscribeToTopic(dev.pushrpc.v1.SubscribeToTopicRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getSubscribeToTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Has tokens leave a topic that the provider keeps.
     * </pre>
     */
    public dev.pushrpc.v1.UnsubscribeFromTopicResponse unsubscribeFromTopic(dev.pushrpc.v1.UnsubscribeFromTopicRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getUnsubscribeFromTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Opens a broadcast channel at Apple.
     * </pre>
     */
    public dev.pushrpc.v1.CreateBroadcastChannelResponse createBroadcastChannel(dev.pushrpc.v1.CreateBroadcastChannelRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getCreateBroadcastChannelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells the app's broadcast channels.
     * </pre>
     */
    public dev.pushrpc.v1.ListBroadcastChannelsResponse listBroadcastChannels(dev.pushrpc.v1.ListBroadcastChannelsRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getListBroadcastChannelsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Closes a broadcast channel.
     * </pre>
     */
    public dev.pushrpc.v1.DeleteBroadcastChannelResponse deleteBroadcastChannel(dev.pushrpc.v1.DeleteBroadcastChannelRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getDeleteBroadcastChannelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells versions, limits and configured providers.
     * </pre>
     */
    public dev.pushrpc.v1.GetServerInfoResponse getServerInfo(dev.pushrpc.v1.GetServerInfoRequest request) throws io.grpc.StatusException {
      return io.grpc.stub.ClientCalls.blockingV2UnaryCall(
          getChannel(), getGetServerInfoMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do limited synchronous rpc calls to service PushService.
   * <pre>
   * Push notifications with one typed, final answer for every token.
   * </pre>
   */
  public static final class PushServiceBlockingStub
      extends io.grpc.stub.AbstractBlockingStub<PushServiceBlockingStub> {
    private PushServiceBlockingStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected PushServiceBlockingStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new PushServiceBlockingStub(channel, callOptions);
    }

    /**
     * <pre>
     * Upserts one provider token; the newest registration of a token wins it.
     * Fails with FIELD_REQUIRED, TOKEN_MALFORMED, WEB_PUSH_KEYS_INVALID, ENDPOINT_FORBIDDEN, PROVIDER_RETIRED,
     * PROVIDER_NOT_CONFIGURED.
     * </pre>
     */
    public dev.pushrpc.v1.RegisterDeviceResponse registerDevice(dev.pushrpc.v1.RegisterDeviceRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getRegisterDeviceMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Changes named fields of one device.
     * </pre>
     */
    public dev.pushrpc.v1.UpdateDeviceResponse updateDevice(dev.pushrpc.v1.UpdateDeviceRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUpdateDeviceMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Removes devices; what is queued for them ends CANCELLED, DEVICE_REMOVED.
     * </pre>
     */
    public dev.pushrpc.v1.UnregisterDeviceResponse unregisterDevice(dev.pushrpc.v1.UnregisterDeviceRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUnregisterDeviceMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads one device.
     * </pre>
     */
    public dev.pushrpc.v1.GetDeviceResponse getDevice(dev.pushrpc.v1.GetDeviceRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetDeviceMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Pages through an app's devices.
     * </pre>
     */
    public dev.pushrpc.v1.ListDevicesResponse listDevices(dev.pushrpc.v1.ListDevicesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListDevicesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Accepts one notification durably and answers with its receipt.
     * Partial failure is OK with typed rejections; the call fails only when it is malformed or over quota.
     * </pre>
     */
    public dev.pushrpc.v1.SendNotificationResponse sendNotification(dev.pushrpc.v1.SendNotificationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getSendNotificationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Reads one notification with its counts.
     * </pre>
     */
    public dev.pushrpc.v1.GetNotificationResponse getNotification(dev.pushrpc.v1.GetNotificationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetNotificationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Pages through an app's notifications.
     * </pre>
     */
    public dev.pushrpc.v1.ListNotificationsResponse listNotifications(dev.pushrpc.v1.ListNotificationsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListNotificationsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Pages through deliveries, the answer to "what happened to this token?".
     * </pre>
     */
    public dev.pushrpc.v1.ListDeliveriesResponse listDeliveries(dev.pushrpc.v1.ListDeliveriesRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListDeliveriesMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Shows what each provider would be sent, and sends nothing.
     * </pre>
     */
    public dev.pushrpc.v1.PreviewNotificationResponse previewNotification(dev.pushrpc.v1.PreviewNotificationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getPreviewNotificationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Takes back what no provider has yet.
     * </pre>
     */
    public dev.pushrpc.v1.CancelNotificationResponse cancelNotification(dev.pushrpc.v1.CancelNotificationRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCancelNotificationMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Streams every change of deliveries, resumable from any cursor without gap or repeat.
     * </pre>
     */
    public java.util.Iterator<dev.pushrpc.v1.StreamDeliveryStatusResponse> streamDeliveryStatus(
        dev.pushrpc.v1.StreamDeliveryStatusRequest request) {
      return io.grpc.stub.ClientCalls.blockingServerStreamingCall(
          getChannel(), getStreamDeliveryStatusMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Keeps what apps report of their notifications; followers get it as ENGAGEMENT events.
     * </pre>
     */
    public dev.pushrpc.v1.ReportEngagementResponse reportEngagement(dev.pushrpc.v1.ReportEngagementRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getReportEngagementMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Has tokens join a topic that the provider keeps.
     * </pre>
     */
    public dev.pushrpc.v1.SubscribeToTopicResponse subscribeToTopic(dev.pushrpc.v1.SubscribeToTopicRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getSubscribeToTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Has tokens leave a topic that the provider keeps.
     * </pre>
     */
    public dev.pushrpc.v1.UnsubscribeFromTopicResponse unsubscribeFromTopic(dev.pushrpc.v1.UnsubscribeFromTopicRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getUnsubscribeFromTopicMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Opens a broadcast channel at Apple.
     * </pre>
     */
    public dev.pushrpc.v1.CreateBroadcastChannelResponse createBroadcastChannel(dev.pushrpc.v1.CreateBroadcastChannelRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getCreateBroadcastChannelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells the app's broadcast channels.
     * </pre>
     */
    public dev.pushrpc.v1.ListBroadcastChannelsResponse listBroadcastChannels(dev.pushrpc.v1.ListBroadcastChannelsRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getListBroadcastChannelsMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Closes a broadcast channel.
     * </pre>
     */
    public dev.pushrpc.v1.DeleteBroadcastChannelResponse deleteBroadcastChannel(dev.pushrpc.v1.DeleteBroadcastChannelRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getDeleteBroadcastChannelMethod(), getCallOptions(), request);
    }

    /**
     * <pre>
     * Tells versions, limits and configured providers.
     * </pre>
     */
    public dev.pushrpc.v1.GetServerInfoResponse getServerInfo(dev.pushrpc.v1.GetServerInfoRequest request) {
      return io.grpc.stub.ClientCalls.blockingUnaryCall(
          getChannel(), getGetServerInfoMethod(), getCallOptions(), request);
    }
  }

  /**
   * A stub to allow clients to do ListenableFuture-style rpc calls to service PushService.
   * <pre>
   * Push notifications with one typed, final answer for every token.
   * </pre>
   */
  public static final class PushServiceFutureStub
      extends io.grpc.stub.AbstractFutureStub<PushServiceFutureStub> {
    private PushServiceFutureStub(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      super(channel, callOptions);
    }

    @java.lang.Override
    protected PushServiceFutureStub build(
        io.grpc.Channel channel, io.grpc.CallOptions callOptions) {
      return new PushServiceFutureStub(channel, callOptions);
    }

    /**
     * <pre>
     * Upserts one provider token; the newest registration of a token wins it.
     * Fails with FIELD_REQUIRED, TOKEN_MALFORMED, WEB_PUSH_KEYS_INVALID, ENDPOINT_FORBIDDEN, PROVIDER_RETIRED,
     * PROVIDER_NOT_CONFIGURED.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.RegisterDeviceResponse> registerDevice(
        dev.pushrpc.v1.RegisterDeviceRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getRegisterDeviceMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Changes named fields of one device.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.UpdateDeviceResponse> updateDevice(
        dev.pushrpc.v1.UpdateDeviceRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUpdateDeviceMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Removes devices; what is queued for them ends CANCELLED, DEVICE_REMOVED.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.UnregisterDeviceResponse> unregisterDevice(
        dev.pushrpc.v1.UnregisterDeviceRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUnregisterDeviceMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Reads one device.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.GetDeviceResponse> getDevice(
        dev.pushrpc.v1.GetDeviceRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetDeviceMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Pages through an app's devices.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.ListDevicesResponse> listDevices(
        dev.pushrpc.v1.ListDevicesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListDevicesMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Accepts one notification durably and answers with its receipt.
     * Partial failure is OK with typed rejections; the call fails only when it is malformed or over quota.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.SendNotificationResponse> sendNotification(
        dev.pushrpc.v1.SendNotificationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getSendNotificationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Reads one notification with its counts.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.GetNotificationResponse> getNotification(
        dev.pushrpc.v1.GetNotificationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetNotificationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Pages through an app's notifications.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.ListNotificationsResponse> listNotifications(
        dev.pushrpc.v1.ListNotificationsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListNotificationsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Pages through deliveries, the answer to "what happened to this token?".
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.ListDeliveriesResponse> listDeliveries(
        dev.pushrpc.v1.ListDeliveriesRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListDeliveriesMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Shows what each provider would be sent, and sends nothing.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.PreviewNotificationResponse> previewNotification(
        dev.pushrpc.v1.PreviewNotificationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getPreviewNotificationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Takes back what no provider has yet.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.CancelNotificationResponse> cancelNotification(
        dev.pushrpc.v1.CancelNotificationRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCancelNotificationMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Keeps what apps report of their notifications; followers get it as ENGAGEMENT events.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.ReportEngagementResponse> reportEngagement(
        dev.pushrpc.v1.ReportEngagementRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getReportEngagementMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Has tokens join a topic that the provider keeps.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.SubscribeToTopicResponse> subscribeToTopic(
        dev.pushrpc.v1.SubscribeToTopicRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getSubscribeToTopicMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Has tokens leave a topic that the provider keeps.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.UnsubscribeFromTopicResponse> unsubscribeFromTopic(
        dev.pushrpc.v1.UnsubscribeFromTopicRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getUnsubscribeFromTopicMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Opens a broadcast channel at Apple.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.CreateBroadcastChannelResponse> createBroadcastChannel(
        dev.pushrpc.v1.CreateBroadcastChannelRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getCreateBroadcastChannelMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Tells the app's broadcast channels.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.ListBroadcastChannelsResponse> listBroadcastChannels(
        dev.pushrpc.v1.ListBroadcastChannelsRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getListBroadcastChannelsMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Closes a broadcast channel.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.DeleteBroadcastChannelResponse> deleteBroadcastChannel(
        dev.pushrpc.v1.DeleteBroadcastChannelRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getDeleteBroadcastChannelMethod(), getCallOptions()), request);
    }

    /**
     * <pre>
     * Tells versions, limits and configured providers.
     * </pre>
     */
    public com.google.common.util.concurrent.ListenableFuture<dev.pushrpc.v1.GetServerInfoResponse> getServerInfo(
        dev.pushrpc.v1.GetServerInfoRequest request) {
      return io.grpc.stub.ClientCalls.futureUnaryCall(
          getChannel().newCall(getGetServerInfoMethod(), getCallOptions()), request);
    }
  }

  private static final int METHODID_REGISTER_DEVICE = 0;
  private static final int METHODID_UPDATE_DEVICE = 1;
  private static final int METHODID_UNREGISTER_DEVICE = 2;
  private static final int METHODID_GET_DEVICE = 3;
  private static final int METHODID_LIST_DEVICES = 4;
  private static final int METHODID_SEND_NOTIFICATION = 5;
  private static final int METHODID_GET_NOTIFICATION = 6;
  private static final int METHODID_LIST_NOTIFICATIONS = 7;
  private static final int METHODID_LIST_DELIVERIES = 8;
  private static final int METHODID_PREVIEW_NOTIFICATION = 9;
  private static final int METHODID_CANCEL_NOTIFICATION = 10;
  private static final int METHODID_STREAM_DELIVERY_STATUS = 11;
  private static final int METHODID_REPORT_ENGAGEMENT = 12;
  private static final int METHODID_SUBSCRIBE_TO_TOPIC = 13;
  private static final int METHODID_UNSUBSCRIBE_FROM_TOPIC = 14;
  private static final int METHODID_CREATE_BROADCAST_CHANNEL = 15;
  private static final int METHODID_LIST_BROADCAST_CHANNELS = 16;
  private static final int METHODID_DELETE_BROADCAST_CHANNEL = 17;
  private static final int METHODID_GET_SERVER_INFO = 18;
  private static final int METHODID_SEND_NOTIFICATIONS = 19;

  private static final class MethodHandlers<Req, Resp> implements
      io.grpc.stub.ServerCalls.UnaryMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ServerStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.ClientStreamingMethod<Req, Resp>,
      io.grpc.stub.ServerCalls.BidiStreamingMethod<Req, Resp> {
    private final AsyncService serviceImpl;
    private final int methodId;

    MethodHandlers(AsyncService serviceImpl, int methodId) {
      this.serviceImpl = serviceImpl;
      this.methodId = methodId;
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public void invoke(Req request, io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_REGISTER_DEVICE:
          serviceImpl.registerDevice((dev.pushrpc.v1.RegisterDeviceRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.RegisterDeviceResponse>) responseObserver);
          break;
        case METHODID_UPDATE_DEVICE:
          serviceImpl.updateDevice((dev.pushrpc.v1.UpdateDeviceRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.UpdateDeviceResponse>) responseObserver);
          break;
        case METHODID_UNREGISTER_DEVICE:
          serviceImpl.unregisterDevice((dev.pushrpc.v1.UnregisterDeviceRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.UnregisterDeviceResponse>) responseObserver);
          break;
        case METHODID_GET_DEVICE:
          serviceImpl.getDevice((dev.pushrpc.v1.GetDeviceRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetDeviceResponse>) responseObserver);
          break;
        case METHODID_LIST_DEVICES:
          serviceImpl.listDevices((dev.pushrpc.v1.ListDevicesRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListDevicesResponse>) responseObserver);
          break;
        case METHODID_SEND_NOTIFICATION:
          serviceImpl.sendNotification((dev.pushrpc.v1.SendNotificationRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.SendNotificationResponse>) responseObserver);
          break;
        case METHODID_GET_NOTIFICATION:
          serviceImpl.getNotification((dev.pushrpc.v1.GetNotificationRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetNotificationResponse>) responseObserver);
          break;
        case METHODID_LIST_NOTIFICATIONS:
          serviceImpl.listNotifications((dev.pushrpc.v1.ListNotificationsRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListNotificationsResponse>) responseObserver);
          break;
        case METHODID_LIST_DELIVERIES:
          serviceImpl.listDeliveries((dev.pushrpc.v1.ListDeliveriesRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListDeliveriesResponse>) responseObserver);
          break;
        case METHODID_PREVIEW_NOTIFICATION:
          serviceImpl.previewNotification((dev.pushrpc.v1.PreviewNotificationRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.PreviewNotificationResponse>) responseObserver);
          break;
        case METHODID_CANCEL_NOTIFICATION:
          serviceImpl.cancelNotification((dev.pushrpc.v1.CancelNotificationRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.CancelNotificationResponse>) responseObserver);
          break;
        case METHODID_STREAM_DELIVERY_STATUS:
          serviceImpl.streamDeliveryStatus((dev.pushrpc.v1.StreamDeliveryStatusRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.StreamDeliveryStatusResponse>) responseObserver);
          break;
        case METHODID_REPORT_ENGAGEMENT:
          serviceImpl.reportEngagement((dev.pushrpc.v1.ReportEngagementRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.ReportEngagementResponse>) responseObserver);
          break;
        case METHODID_SUBSCRIBE_TO_TOPIC:
          serviceImpl.subscribeToTopic((dev.pushrpc.v1.SubscribeToTopicRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.SubscribeToTopicResponse>) responseObserver);
          break;
        case METHODID_UNSUBSCRIBE_FROM_TOPIC:
          serviceImpl.unsubscribeFromTopic((dev.pushrpc.v1.UnsubscribeFromTopicRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.UnsubscribeFromTopicResponse>) responseObserver);
          break;
        case METHODID_CREATE_BROADCAST_CHANNEL:
          serviceImpl.createBroadcastChannel((dev.pushrpc.v1.CreateBroadcastChannelRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.CreateBroadcastChannelResponse>) responseObserver);
          break;
        case METHODID_LIST_BROADCAST_CHANNELS:
          serviceImpl.listBroadcastChannels((dev.pushrpc.v1.ListBroadcastChannelsRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.ListBroadcastChannelsResponse>) responseObserver);
          break;
        case METHODID_DELETE_BROADCAST_CHANNEL:
          serviceImpl.deleteBroadcastChannel((dev.pushrpc.v1.DeleteBroadcastChannelRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.DeleteBroadcastChannelResponse>) responseObserver);
          break;
        case METHODID_GET_SERVER_INFO:
          serviceImpl.getServerInfo((dev.pushrpc.v1.GetServerInfoRequest) request,
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.GetServerInfoResponse>) responseObserver);
          break;
        default:
          throw new AssertionError();
      }
    }

    @java.lang.Override
    @java.lang.SuppressWarnings("unchecked")
    public io.grpc.stub.StreamObserver<Req> invoke(
        io.grpc.stub.StreamObserver<Resp> responseObserver) {
      switch (methodId) {
        case METHODID_SEND_NOTIFICATIONS:
          return (io.grpc.stub.StreamObserver<Req>) serviceImpl.sendNotifications(
              (io.grpc.stub.StreamObserver<dev.pushrpc.v1.SendNotificationsResponse>) responseObserver);
        default:
          throw new AssertionError();
      }
    }
  }

  public static final io.grpc.ServerServiceDefinition bindService(AsyncService service) {
    return io.grpc.ServerServiceDefinition.builder(getServiceDescriptor())
        .addMethod(
          getRegisterDeviceMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.RegisterDeviceRequest,
              dev.pushrpc.v1.RegisterDeviceResponse>(
                service, METHODID_REGISTER_DEVICE)))
        .addMethod(
          getUpdateDeviceMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.UpdateDeviceRequest,
              dev.pushrpc.v1.UpdateDeviceResponse>(
                service, METHODID_UPDATE_DEVICE)))
        .addMethod(
          getUnregisterDeviceMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.UnregisterDeviceRequest,
              dev.pushrpc.v1.UnregisterDeviceResponse>(
                service, METHODID_UNREGISTER_DEVICE)))
        .addMethod(
          getGetDeviceMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.GetDeviceRequest,
              dev.pushrpc.v1.GetDeviceResponse>(
                service, METHODID_GET_DEVICE)))
        .addMethod(
          getListDevicesMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.ListDevicesRequest,
              dev.pushrpc.v1.ListDevicesResponse>(
                service, METHODID_LIST_DEVICES)))
        .addMethod(
          getSendNotificationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.SendNotificationRequest,
              dev.pushrpc.v1.SendNotificationResponse>(
                service, METHODID_SEND_NOTIFICATION)))
        .addMethod(
          getSendNotificationsMethod(),
          io.grpc.stub.ServerCalls.asyncBidiStreamingCall(
            new MethodHandlers<
              dev.pushrpc.v1.SendNotificationsRequest,
              dev.pushrpc.v1.SendNotificationsResponse>(
                service, METHODID_SEND_NOTIFICATIONS)))
        .addMethod(
          getGetNotificationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.GetNotificationRequest,
              dev.pushrpc.v1.GetNotificationResponse>(
                service, METHODID_GET_NOTIFICATION)))
        .addMethod(
          getListNotificationsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.ListNotificationsRequest,
              dev.pushrpc.v1.ListNotificationsResponse>(
                service, METHODID_LIST_NOTIFICATIONS)))
        .addMethod(
          getListDeliveriesMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.ListDeliveriesRequest,
              dev.pushrpc.v1.ListDeliveriesResponse>(
                service, METHODID_LIST_DELIVERIES)))
        .addMethod(
          getPreviewNotificationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.PreviewNotificationRequest,
              dev.pushrpc.v1.PreviewNotificationResponse>(
                service, METHODID_PREVIEW_NOTIFICATION)))
        .addMethod(
          getCancelNotificationMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.CancelNotificationRequest,
              dev.pushrpc.v1.CancelNotificationResponse>(
                service, METHODID_CANCEL_NOTIFICATION)))
        .addMethod(
          getStreamDeliveryStatusMethod(),
          io.grpc.stub.ServerCalls.asyncServerStreamingCall(
            new MethodHandlers<
              dev.pushrpc.v1.StreamDeliveryStatusRequest,
              dev.pushrpc.v1.StreamDeliveryStatusResponse>(
                service, METHODID_STREAM_DELIVERY_STATUS)))
        .addMethod(
          getReportEngagementMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.ReportEngagementRequest,
              dev.pushrpc.v1.ReportEngagementResponse>(
                service, METHODID_REPORT_ENGAGEMENT)))
        .addMethod(
          getSubscribeToTopicMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.SubscribeToTopicRequest,
              dev.pushrpc.v1.SubscribeToTopicResponse>(
                service, METHODID_SUBSCRIBE_TO_TOPIC)))
        .addMethod(
          getUnsubscribeFromTopicMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.UnsubscribeFromTopicRequest,
              dev.pushrpc.v1.UnsubscribeFromTopicResponse>(
                service, METHODID_UNSUBSCRIBE_FROM_TOPIC)))
        .addMethod(
          getCreateBroadcastChannelMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.CreateBroadcastChannelRequest,
              dev.pushrpc.v1.CreateBroadcastChannelResponse>(
                service, METHODID_CREATE_BROADCAST_CHANNEL)))
        .addMethod(
          getListBroadcastChannelsMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.ListBroadcastChannelsRequest,
              dev.pushrpc.v1.ListBroadcastChannelsResponse>(
                service, METHODID_LIST_BROADCAST_CHANNELS)))
        .addMethod(
          getDeleteBroadcastChannelMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.DeleteBroadcastChannelRequest,
              dev.pushrpc.v1.DeleteBroadcastChannelResponse>(
                service, METHODID_DELETE_BROADCAST_CHANNEL)))
        .addMethod(
          getGetServerInfoMethod(),
          io.grpc.stub.ServerCalls.asyncUnaryCall(
            new MethodHandlers<
              dev.pushrpc.v1.GetServerInfoRequest,
              dev.pushrpc.v1.GetServerInfoResponse>(
                service, METHODID_GET_SERVER_INFO)))
        .build();
  }

  private static abstract class PushServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoFileDescriptorSupplier, io.grpc.protobuf.ProtoServiceDescriptorSupplier {
    PushServiceBaseDescriptorSupplier() {}

    @java.lang.Override
    public com.google.protobuf.Descriptors.FileDescriptor getFileDescriptor() {
      return dev.pushrpc.v1.ServiceProto.getDescriptor();
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.ServiceDescriptor getServiceDescriptor() {
      return getFileDescriptor().findServiceByName("PushService");
    }
  }

  private static final class PushServiceFileDescriptorSupplier
      extends PushServiceBaseDescriptorSupplier {
    PushServiceFileDescriptorSupplier() {}
  }

  private static final class PushServiceMethodDescriptorSupplier
      extends PushServiceBaseDescriptorSupplier
      implements io.grpc.protobuf.ProtoMethodDescriptorSupplier {
    private final java.lang.String methodName;

    PushServiceMethodDescriptorSupplier(java.lang.String methodName) {
      this.methodName = methodName;
    }

    @java.lang.Override
    public com.google.protobuf.Descriptors.MethodDescriptor getMethodDescriptor() {
      return getServiceDescriptor().findMethodByName(methodName);
    }
  }

  private static volatile io.grpc.ServiceDescriptor serviceDescriptor;

  public static io.grpc.ServiceDescriptor getServiceDescriptor() {
    io.grpc.ServiceDescriptor result = serviceDescriptor;
    if (result == null) {
      synchronized (PushServiceGrpc.class) {
        result = serviceDescriptor;
        if (result == null) {
          serviceDescriptor = result = io.grpc.ServiceDescriptor.newBuilder(SERVICE_NAME)
              .setSchemaDescriptor(new PushServiceFileDescriptorSupplier())
              .addMethod(getRegisterDeviceMethod())
              .addMethod(getUpdateDeviceMethod())
              .addMethod(getUnregisterDeviceMethod())
              .addMethod(getGetDeviceMethod())
              .addMethod(getListDevicesMethod())
              .addMethod(getSendNotificationMethod())
              .addMethod(getSendNotificationsMethod())
              .addMethod(getGetNotificationMethod())
              .addMethod(getListNotificationsMethod())
              .addMethod(getListDeliveriesMethod())
              .addMethod(getPreviewNotificationMethod())
              .addMethod(getCancelNotificationMethod())
              .addMethod(getStreamDeliveryStatusMethod())
              .addMethod(getReportEngagementMethod())
              .addMethod(getSubscribeToTopicMethod())
              .addMethod(getUnsubscribeFromTopicMethod())
              .addMethod(getCreateBroadcastChannelMethod())
              .addMethod(getListBroadcastChannelsMethod())
              .addMethod(getDeleteBroadcastChannelMethod())
              .addMethod(getGetServerInfoMethod())
              .build();
        }
      }
    }
    return result;
  }
}
