// The npm package `centrifuge`, driven from outside: one JSON command per line in, answers and events out.
// sdk.py starts it, and says what the commands are; centrifuge_py.py is the same for the Python package, and
// centrifuge_go/ for the Go module.
import { createInterface } from "node:readline";
import { Centrifuge as JsonCentrifuge } from "centrifuge";
import { Centrifuge as ProtobufCentrifuge } from "centrifuge/build/protobuf";
import { EventSource } from "eventsource";
import WebSocket from "ws";

const say = line => process.stdout.write(JSON.stringify(line) + "\n");
const [encoding, transport] = process.argv.slice(2);
const isProtobuf = encoding === "protobuf";
const Centrifuge = isProtobuf ? ProtobufCentrifuge : JsonCentrifuge;
let client;

// Its 64-bit numbers over Protobuf are objects.
const number = value => (value?.toNumber ? value.toNumber() : value);
// What the SDK takes for a value, and the value that it gives: over Protobuf it has bytes.
const encoded = value => (isProtobuf ? Buffer.from(JSON.stringify(value)) : value);
const decoded = data => {
  if (!isProtobuf || data === null) return data;
  const bytes = Buffer.from(data);
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return { b64: bytes.toString("base64") };
  }
};

const publication = (channel, { data, offset, info, tags }) =>
  say({ event: "publication", channel, data: decoded(data), offset: number(offset), publisher: info?.client ?? null, tags: tags ?? {} });
const subscribed = (channel, { wasRecovering, recovered, streamPosition, data }) =>
  say({ event: "subscribed", channel, wasRecovering, recovered, epoch: streamPosition?.epoch, data: data?.length === 0 ? null : decoded(data ?? null) });
const chanInfos = clients =>
  Object.fromEntries(Object.entries(clients).map(([id, info]) => [id, info.chanInfo?.length === 0 ? null : decoded(info.chanInfo ?? null)]));
const people = clients => Object.fromEntries(Object.entries(clients).map(([id, info]) => [id, info.user]));
const publications = result => ({
  publications: result.publications.map(one => ({ offset: number(one.offset), data: decoded(one.data) })),
  offset: number(result.offset),
  epoch: result.epoch,
});

// Gives one token after the other, and says so; null is a failure of the application.
const giver = (channel, tokens) => async () => {
  say({ event: "token", channel });
  const token = tokens.shift();
  if (token === null) throw new Error("the application has no token at the moment");
  return token;
};

function subscriptionOf({ channel, joinLeave = false, delta, tagsFilter, token, tokens, states }) {
  const known = client.getSubscription(channel);
  if (known) return known;
  const subscription = client.newSubscription(channel, {
    positioned: true, recoverable: true, joinLeave, delta, tagsFilter, token,
    getToken: tokens && giver(channel, tokens),
    getState: states && (async () => {
      say({ event: "state", channel });
      return states.shift();
    }),
    minResubscribeDelay: 10, maxResubscribeDelay: 100,
  });
  subscription.on("subscribed", event => subscribed(channel, event));
  subscription.on("unsubscribed", ({ code, reason }) => say({ event: "unsubscribed", channel, code, reason }));
  subscription.on("publication", event => publication(channel, event));
  subscription.on("join", ({ info }) => say({ event: "join", channel, client: info.client }));
  subscription.on("leave", ({ info }) => say({ event: "leave", channel, client: info.client }));
  return subscription;
}

const commands = {
  connect({ url, commandsUrl, pingSlackMs = 10000, token, tokens }) {
    const address = new URL(url.replace(/^ws/, "http"));
    // Its commands over HTTP may go to another gateway.
    const emulationEndpoint = `${commandsUrl ?? address.origin}/emulation`;
    const endpoint = `${address.origin}/connection/${transport}${address.search}`;
    client = new Centrifuge(transport === "websocket" ? url : [{ transport, endpoint }], {
      websocket: WebSocket, fetch, readableStream: ReadableStream, eventsource: EventSource, emulationEndpoint,
      minReconnectDelay: 10, maxReconnectDelay: 100, maxServerPingDelay: pingSlackMs,
      token, getToken: tokens && giver(undefined, tokens),
    });
    client.on("connected", ({ client: id }) => say({ event: "connected", client: id }));
    client.on("connecting", ({ code, reason }) => say({ event: "connecting", code, reason }));
    client.on("disconnected", ({ code, reason }) => say({ event: "disconnected", code, reason }));
    // Of the subscriptions that the server makes.
    client.on("subscribed", event => subscribed(event.channel, event));
    client.on("unsubscribed", ({ channel }) => say({ event: "unsubscribed", channel }));
    client.on("publication", event => publication(event.channel, event));
    client.connect();
    return client.ready();
  },
  subscribe(options) { subscriptionOf(options).subscribe(); },
  unsubscribe({ channel }) { client.getSubscription(channel).unsubscribe(); },
  // Subscribes and unsubscribes in one turn of the loop, and remains subscribed.
  storm({ rounds, ...options }) {
    const subscription = subscriptionOf(options);
    for (let i = 0; i < rounds; ++i) {
      subscription.subscribe();
      subscription.unsubscribe();
    }
    subscription.subscribe();
  },
  publish: ({ channel, data }) => client.publish(channel, encoded(data)).then(() => null),
  history: ({ channel, limit, since, reverse }) =>
    client.history(channel, { limit, since, reverse }).then(publications),
  presence: ({ channel }) => client.presence(channel).then(result => people(result.clients)),
  presenceInfo: ({ channel }) => client.presence(channel).then(result => chanInfos(result.clients)),
  presenceStats: ({ channel }) =>
    client.presenceStats(channel).then(result => ({ clients: result.numClients, users: result.numUsers })),
  rpc: ({ method, data = null }) => client.rpc(method, encoded(data)).then(result => decoded(result.data)),
  disconnect() { client.disconnect(); },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...options } = JSON.parse(line);
  Promise.resolve(options)
    .then(commands[command])
    .then(result => say({ id, result: result ?? null }))
    .catch(error => say({ id, error: error.code ?? String(error) }));
}
process.exit();
