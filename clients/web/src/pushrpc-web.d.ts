/** What changed between this browser and its push service. */
export interface SubscriptionChange {
  /** The subscription that messages go to from now on; null when there is none any more. */
  subscription: PushSubscription | null;
  /** Endpoint of the subscription that this one takes the place of, or that has ended; null for a first one. */
  replaces: string | null;
}

export interface PushClientOptions {
  /** The VAPID public key as base64url: what pushrpc calls the account's provider_app_id. */
  applicationServerKey: string;
  /**
   * Where the app's backend takes subscriptions: a URL that gets each change as a POST of JSON, or a function.
   * Repeats are common and mean that the subscription is still in use.
   */
  subscriptions: string | URL | ((change: SubscriptionChange) => Promise<void>);
  /** URL of the app's backend that gets an `EngagementReport` as a POST of JSON; without it nothing is reported. */
  engagements?: string | URL;
  /** URL of pushrpc-worker.js, or of the app's own worker that draws it in. Default: "/pushrpc-worker.js". */
  worker?: string | URL;
}

/** JSON that `engagements` gets from the service worker, best effort. */
export interface EngagementReport {
  notification_id: string;
  engagement: "ENGAGEMENT_RECEIVED" | "ENGAGEMENT_DISPLAYED" | "ENGAGEMENT_OPENED" | "ENGAGEMENT_DISMISSED";
  /** When it happened, ISO 8601. */
  time: string;
  /** Of the subscription; empty when it has ended meanwhile. */
  endpoint: string;
}

export class PushClient {
  constructor(options: PushClientOptions);

  /** Whether this browser can have push here. False also in a tab on iOS, where only installed apps have it. */
  static readonly supported: boolean;

  /**
   * Asks for permission, subscribes and tells the backend. Call it while handling a click.
   * Rejects with a DOMException NotAllowedError without permission, NotSupportedError without Web Push, and with an
   * Error when the backend does not take the subscription.
   */
  subscribe(): Promise<PushSubscription>;

  /**
   * Tells the backend how things stand, without asking the person anything: the subscription if there is one, a new
   * one if the browser has dropped it, or that the permission is gone. Call it on every page load.
   */
  refresh(): Promise<PushSubscription | null>;

  /** Ends the subscription and tells the backend. */
  unsubscribe(): Promise<void>;
}
