// The page's half of Web Push: asks, subscribes, and keeps the app's backend told.
// Sources: W3C Push API, Notifications API. The worker's half is pushrpc-worker.js; it gets its settings from here.

// The endpoint that the backend knows, so that a later one can name what it replaces.
const TOLD = "pushrpc.endpoint";
const POST_MS_MAX = 10_000;

export class PushClient {
  #applicationServerKey;
  #subscriptions;
  #engagements;
  #worker;

  constructor({ applicationServerKey, subscriptions, engagements, worker = "/pushrpc-worker.js" }) {
    this.#applicationServerKey = base64url(applicationServerKey);
    this.#subscriptions = typeof subscriptions === "function" ? subscriptions : absolute(subscriptions);
    this.#engagements = engagements && absolute(engagements);
    this.#worker = absolute(worker);
    if (PushClient.supported) {
      navigator.serviceWorker.addEventListener("message", ({ data }) => {
        if (data === "pushrpc:subscriptionchange") this.refresh().catch(reportError);
      });
    }
  }

  /** False also where only an installed app may have push, such as a tab on iOS. */
  static get supported() {
    return "serviceWorker" in navigator && "PushManager" in globalThis && "Notification" in globalThis;
  }

  async subscribe() {
    if (!PushClient.supported) throw new DOMException("This browser has no Web Push here.", "NotSupportedError");
    // First of all: Safari and Firefox ask only while a click is being handled.
    if ((await Notification.requestPermission()) !== "granted") {
      throw new DOMException("Notifications are not allowed here.", "NotAllowedError");
    }
    return this.#subscribed();
  }

  async refresh() {
    if (!PushClient.supported) return null;
    const existing = await this.#existing();
    if (!existing && !localStorage.getItem(TOLD)) return null;
    if (Notification.permission === "granted") return this.#subscribed();
    await this.#tell(null, existing?.endpoint);
    return null;
  }

  async unsubscribe() {
    const subscription = await this.#existing();
    // The person's wish comes before the backend's knowledge, which the push service corrects in the end.
    await subscription?.unsubscribe();
    if (subscription || localStorage.getItem(TOLD)) await this.#tell(null, subscription?.endpoint);
  }

  async #existing() {
    const registration = await navigator.serviceWorker?.getRegistration(this.#worker);
    return registration?.pushManager?.getSubscription();
  }

  async #subscribed() {
    const registration = await activated(await navigator.serviceWorker.register(this.#workerWithSettings()));
    const existing = await registration.pushManager.getSubscription();
    let subscription = existing;
    if (!existing || base64urlOf(existing.options.applicationServerKey) !== this.#applicationServerKey) {
      // A browser refuses a second key beside the first one.
      await existing?.unsubscribe();
      subscription = await registration.pushManager.subscribe({
        userVisibleOnly: true,
        applicationServerKey: this.#applicationServerKey,
      });
    }
    await this.#tell(subscription, existing?.endpoint);
    return subscription;
  }

  async #tell(subscription, before) {
    const known = localStorage.getItem(TOLD) ?? before ?? null;
    const replaces = known === subscription?.endpoint ? null : known;
    if (typeof this.#subscriptions === "function") await this.#subscriptions({ subscription, replaces });
    else await post(this.#subscriptions, { subscription, replaces });
    if (subscription) localStorage.setItem(TOLD, subscription.endpoint);
    else localStorage.removeItem(TOLD);
  }

  #workerWithSettings() {
    const url = new URL(this.#worker);
    url.searchParams.set("applicationServerKey", this.#applicationServerKey);
    if (this.#engagements) url.searchParams.set("engagements", this.#engagements);
    if (typeof this.#subscriptions === "string") url.searchParams.set("subscriptions", this.#subscriptions);
    return url;
  }
}

async function activated(registration) {
  const worker = registration.installing ?? registration.waiting;
  if (!registration.active) {
    await new Promise((resolve, reject) => {
      worker.addEventListener("statechange", () => {
        if (worker.state === "activated") resolve();
        if (worker.state === "redundant") reject(new Error("The service worker could not be installed."));
      });
    });
  }
  return registration;
}

async function post(url, value) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(value),
    signal: AbortSignal.timeout(POST_MS_MAX),
  });
  if (!response.ok) throw new Error(`The backend refused the subscription: ${response.status}`);
}

function absolute(url) {
  return new URL(url, document.baseURI).href;
}

function base64urlOf(buffer) {
  return base64url(btoa(String.fromCharCode(...new Uint8Array(buffer ?? []))));
}

function base64url(base64) {
  return base64.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
