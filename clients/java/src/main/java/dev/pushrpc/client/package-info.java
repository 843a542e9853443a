/**
 * A client of pushrpc: {@link dev.pushrpc.client.PushClient} connects, sends, registers and follows; {@link
 * dev.pushrpc.client.BulkSender} sends many; {@link dev.pushrpc.client.PushException} is every error. The messages are
 * those of the contract, package {@code dev.pushrpc.v1}.
 */
package dev.pushrpc.client;
