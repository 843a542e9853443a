// What each line on standard input asks for is answered with a line: {"vapid": {}} makes a sender's keys,
// {"browser": {}} those of a subscription, {"send": [subscription, payload, options]} sends with web-push, and
// {"read": {"body", "private", "auth"}} decrypts a push. Usage: node main.mjs <CA file>

import crypto from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import readline from "node:readline";

import ece from "http_ece";
import webpush from "web-push";

const agent = new https.Agent({ ca: fs.readFileSync(process.argv[2]), keepAlive: true });

const orders = {
  vapid: () => webpush.generateVAPIDKeys(),
  browser: () => {
    const key = crypto.createECDH("prime256v1");
    const [p256dh, auth] = [key.generateKeys(), crypto.randomBytes(16)].map((bytes) => bytes.toString("base64url"));
    return { p256dh, auth, private: key.getPrivateKey("base64url") };
  },
  send: async ([subscription, payload, options]) => {
    try {
      const { statusCode, headers } = await webpush.sendNotification(subscription, payload, { ...options, agent });
      return { status: statusCode, headers, body: "" };
    } catch (error) {
      if (!(error instanceof webpush.WebPushError)) throw error;
      return { status: error.statusCode, headers: error.headers, body: error.body };
    }
  },
  read: ({ body, private: secret, auth }) => {
    const privateKey = crypto.createECDH("prime256v1");
    privateKey.setPrivateKey(secret, "base64url");
    const parameters = { version: "aes128gcm", privateKey, authSecret: auth };
    return { text: ece.decrypt(Buffer.from(body, "base64"), parameters).toString() };
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [[order, argument]] = Object.entries(JSON.parse(line));
  console.log(JSON.stringify(await orders[order](argument)));
}
agent.destroy();
