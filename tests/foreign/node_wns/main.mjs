// Calls the wns package as standard input says, a JSON object a line: {"call": "sendToastText01", "arguments": [...]}.
// Prints what each callback was told, in the order of the lines. All lines are called at once.
//
// Arguments of the process: the emulator's endpoint and its CA.

import { readFileSync } from 'node:fs';
import https from 'node:https';
import { text } from 'node:stream/consumers';

const endpoint = new URL(process.argv[2]);
const ca = readFileSync(process.argv[3]);
const request = https.request;

// The package knows login.live.com and port 443 only: this stands in for DNS, and for the trust in Microsoft's CA.
https.request = (options, callback) =>
  request({ ...options, host: undefined, hostname: endpoint.hostname, port: endpoint.port, ca }, callback);

const { default: wns } = await import('wns');

const called = ({ call, arguments: values }) =>
  new Promise((resolve) =>
    wns[call](...values, (error, result) => {
      const told = error ?? result;
      resolve({
        error: error?.message ?? '',
        inner: typeof error?.innerError === 'string' ? error.innerError : '',
        status: told.statusCode ?? 0,
        headers: told.headers ?? {},
        access_token: told.newAccessToken ?? '',
      });
    }),
  );

const lines = (await text(process.stdin)).split('\n').filter(Boolean);
for (const told of await Promise.all(lines.map((line) => called(JSON.parse(line))))) console.log(JSON.stringify(told));
