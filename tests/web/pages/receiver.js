// A receiver of Web Push that nobody here shares code with: WebCrypto alone, by RFC 8291 §3 and RFC 8188 §2.
const P256 = { name: "ECDH", namedCurve: "P-256" };

export async function receiver() {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(P256, false, ["deriveBits"]);
  const point = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
  const auth = crypto.getRandomValues(new Uint8Array(16));
  return {
    p256dh: base64(point),
    auth: base64(auth),
    async decrypt(body) {
      const { salt, recordSize, keyId, record } = parsed(bytes(body));
      if (record.length > recordSize) throw new Error("more than one record");
      const sender = await crypto.subtle.importKey("raw", keyId, P256, false, []);
      const secret = await crypto.subtle.deriveBits({ name: "ECDH", public: sender }, privateKey, 256);
      const input = await hkdf(auth, secret, concatenated(text("WebPush: info\0"), point, keyId), 32);
      const key = await hkdf(salt, input, text("Content-Encoding: aes128gcm\0"), 16);
      const iv = await hkdf(salt, input, text("Content-Encoding: nonce\0"), 12);
      const aes = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"]);
      const padded = new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv }, aes, record));
      const end = padded.findLastIndex((byte) => byte !== 0);
      if (padded[end] !== 2) throw new Error("not marked as the last record");
      return new TextDecoder("utf-8", { fatal: true }).decode(padded.subarray(0, end));
    },
  };
}

function parsed(body) {
  const recordSize = new DataView(body.buffer).getUint32(16);
  const end = 21 + body[20];
  return { salt: body.slice(0, 16), recordSize, keyId: body.slice(21, end), record: body.slice(end) };
}

async function hkdf(salt, input, info, length) {
  const key = await crypto.subtle.importKey("raw", input, "HKDF", false, ["deriveBits"]);
  return crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, length * 8);
}

function concatenated(...parts) {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function text(value) {
  return new TextEncoder().encode(value);
}

function base64(value) {
  return btoa(String.fromCharCode(...value)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function bytes(value) {
  return Uint8Array.from(atob(value), (character) => character.charCodeAt(0));
}
