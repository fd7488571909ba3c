// Clients of event streams by public libraries: `ws`, and `eventsource`. Each follows a project with disconnects until
// it has the event that is read from standard input, and prints what it received: [[position, topic], …] for each seed.
import { EventSource } from "eventsource";
import readline from "node:readline";
import WebSocket from "ws";

const { kind, urls, token, project, topics, seeds } = JSON.parse(process.argv[2]);
const last = new Promise((resolve) => readline.createInterface({ input: process.stdin }).once("line", resolve));
let end;
last.then((position) => (end = position));

function createRandom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const choose = (random, list) => list[Math.floor(random() * list.length)];
const isDone = (received) => end !== undefined && received.length > 0 && received.at(-1)[0] === end;

// Each opens one connection after a position, calls `take` for each event, and returns a function that cuts it.
function openSocket(url, after, take, lost) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/streams`, {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
  });
  socket.on("open", () =>
    socket.send(JSON.stringify({ channel: "runs", event: "subscribe", id: "s", payload: { project_id: project, after } })),
  );
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (message.event === "run.updated") take(message.position, message.payload.topic);
    if (message.event === "unsubscribed") socket.close();
  });
  socket.on("error", () => {});
  socket.on("close", lost);
  return (random) => (random() < 0.5 ? socket.close() : socket.terminate());
}

function openEventSource(url, after, take, lost) {
  const source = new EventSource(`${url}/v1/projects/${project}/events?after=${after}`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
  });
  for (const topic of topics) source.addEventListener(topic, (event) => take(event.lastEventId, topic));
  source.onerror = () => source.readyState === EventSource.CLOSED && lost(); // else it reconnects by itself
  return () => {
    source.close();
    lost();
  };
}

async function follow(seed) {
  const random = createRandom(seed);
  const received = [];
  while (!isDone(received)) {
    let wanted = choose(random, [1, 2, 5, 20, 1000]);
    await new Promise((resolve) => {
      let isOver = false;
      const finish = () => {
        isOver = true;
        clearInterval(watching);
        setTimeout(resolve, 20);
      };
      const take = (position, topic) => {
        if (isOver) return;
        received.push([position, topic]);
        wanted -= 1;
        if (wanted === 0 || isDone(received)) cut(random);
      };
      const watching = setInterval(() => isDone(received) && cut(random), 50);
      const open = kind === "ws" ? openSocket : openEventSource;
      const cut = open(choose(random, urls), received.at(-1)?.[0] ?? "0", take, () => isOver || finish());
    });
  }
  return received;
}

// Exit once all is written: a pipe takes 64 KiB at a time.
process.stdout.write(JSON.stringify(await Promise.all(seeds.map(follow))), () => process.exit(0));
