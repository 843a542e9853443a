// Calls Microsoft's client as standard input says, a JSON object a line: {"call": "sendNotification", "arguments": [...]}.
// An argument {"make": "createAppleNotification", "of": {...}} is made by the package's function of that name.
// Prints what each call returned or was refused with, in the order of the lines, one after the other.
//
// Arguments of the process: the connection string, the hub, the emulator's CA.

import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import * as hubs from '@azure/notification-hubs';

const [connectionString, hub, caFile] = process.argv.slice(2);
const client = new hubs.NotificationHubsClient(connectionString, hub, {
  tlsOptions: { ca: readFileSync(caFile) },
  retryOptions: { maxRetries: 0 },
});

const made = (value) => (value?.make ? hubs[value.make](value.of) : value);

for (const line of (await text(process.stdin)).split('\n').filter(Boolean)) {
  const { call, arguments: values } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: (await client[call](...values.map(made))) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message, status: error.statusCode ?? 0 }));
  }
}
