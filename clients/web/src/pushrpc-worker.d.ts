// A service worker script: it exports nothing and is registered by PushClient.
export {};
