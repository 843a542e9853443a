// The service worker's half of Web Push: shows what pushrpc sends and reports what becomes of it.
// A classic script without imports or exports, so that it can be registered as it is, or drawn into an app's own worker
// by importScripts(). PushClient puts its settings into the query of the registered worker's URL.
// Sources: W3C Push API, Notifications API, Service Workers.
(() => {
  "use strict";

  const settings = new URL(self.location.href).searchParams;
  const engagements = settings.get("engagements");
  const subscriptions = settings.get("subscriptions");
  const POST_MS_MAX = 10_000;

  self.addEventListener("push", (event) => {
    const message = messageOf(event.data);
    event.waitUntil(
      Promise.all([
        report(message.data, "ENGAGEMENT_RECEIVED"),
        show(message).then(() => report(message.data, "ENGAGEMENT_DISPLAYED")),
      ]),
    );
  });

  self.addEventListener("notificationclick", (event) => {
    const { data } = event.notification;
    event.notification.close();
    event.waitUntil(Promise.all([report(data, "ENGAGEMENT_OPENED"), open(data?.link)]));
  });

  self.addEventListener("notificationclose", (event) => {
    event.waitUntil(report(event.notification.data, "ENGAGEMENT_DISMISSED"));
  });

  self.addEventListener("pushsubscriptionchange", (event) => {
    event.waitUntil(renew(event));
  });

  /** The notification's title and options. Whatever is not ours becomes its text, because a push must show something. */
  function messageOf(data) {
    const text = data?.text() ?? "";
    try {
      const message = JSON.parse(text);
      if (message && typeof message === "object" && !Array.isArray(message)) return message;
    } catch {
      // Not JSON, so not ours.
    }
    return { body: text };
  }

  async function show({ title, ...options }) {
    const heading = typeof title === "string" && title ? title : self.location.hostname;
    try {
      await self.registration.showNotification(heading, options);
    } catch {
      // An option that this browser refuses must not cost the notification.
      const { body, data } = options;
      await self.registration.showNotification(heading, { body, data });
    }
  }

  /** Brings the link to the front; without a usable one, the app wherever it is open. */
  async function open(link) {
    const wanted = destination(link);
    const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    const window = windows.find((client) => !wanted || client.url === wanted);
    return window ? window.focus() : self.clients.openWindow(wanted ?? self.registration.scope);
  }

  /** Only this origin or https: a payload shall not make the app open anything else. */
  function destination(link) {
    if (typeof link !== "string" || !link) return null;
    try {
      const url = new URL(link, self.registration.scope);
      return url.protocol === "https:" || url.origin === self.location.origin ? url.href : null;
    } catch {
      return null;
    }
  }

  async function report(data, engagement) {
    const notification_id = data?.notification_id;
    if (!engagements || typeof notification_id !== "string") return;
    const time = new Date().toISOString();
    const subscription = await self.registration.pushManager.getSubscription();
    await post(engagements, { notification_id, engagement, time, endpoint: subscription?.endpoint ?? "" });
  }

  async function renew({ oldSubscription, newSubscription }) {
    const subscription = newSubscription ?? (await subscribed());
    const replaces = oldSubscription?.endpoint ?? null; // not every browser says
    if (subscriptions) {
      if (subscription || replaces) await post(subscriptions, { subscription, replaces });
      return;
    }
    // The app hands subscriptions over by itself: its open pages do so now, the others when they are next loaded.
    const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    for (const window of windows) window.postMessage("pushrpc:subscriptionchange");
  }

  async function subscribed() {
    try {
      return await self.registration.pushManager.subscribe({
        userVisibleOnly: true,
        applicationServerKey: settings.get("applicationServerKey"),
      });
    } catch {
      return null; // The change was that the person has taken the permission back.
    }
  }

  async function post(url, value) {
    try {
      await fetch(url, {
        method: "POST",
        keepalive: true,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(value),
        signal: AbortSignal.timeout(POST_MS_MAX),
      });
    } catch {
      // Reports are best effort, and the next page load hands the subscription over again.
    }
  }
})();
