/**
 * Client of pushrpc: push notifications over gRPC, with one typed, final answer for every token.
 *
 * @packageDocumentation
 */
export { create } from "@bufbuild/protobuf";
export { durationFromMs, durationMs, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
export { type BulkOptions, BulkSender } from "./bulk.js";
export type { CallOptions } from "./calls.js";
export { PushClient, type Request } from "./client.js";
export type { ConnectOptions, TlsOptions } from "./connection.js";
export { type Code, PushError, type PushErrorDetails, type WrongField } from "./errors.js";
export { Follower, type FollowOptions } from "./follow.js";
export * from "./generated/pushrpc/v1/audiences_pb.js";
export * from "./generated/pushrpc/v1/devices_pb.js";
export * from "./generated/pushrpc/v1/enums_pb.js";
export * from "./generated/pushrpc/v1/following_pb.js";
export * from "./generated/pushrpc/v1/sending_pb.js";
export * from "./generated/pushrpc/v1/service_pb.js";
export { PushStub, pushServiceDefinition } from "./stub.js";
