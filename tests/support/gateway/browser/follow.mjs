// A page in a headless Chromium that follows a project: it opens the WebSocket with a ticket, subscribes, is cut off,
// resumes, and ends with every event. Prints [[position, topic], …].
import chromium from "@sparticuz/chromium";
import { chromium as playwright } from "playwright-core";
import readline from "node:readline";

const { page: address, api, token, project } = JSON.parse(process.argv[2]);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await playwright.launch({
  executablePath: process.env.CHROMIUM ?? (await chromium.executablePath()),
  args: [...chromium.args, "--disable-background-networking"],
  headless: true,
});
try {
  const page = await browser.newPage();
  await page.goto(address);
  await page.evaluate(
    ({ api, token, project }) => {
      window.received = [];
      window.opened = 0;
      window.end = null;
      const headers = { authorization: `Bearer ${token}` };
      async function open() {
        const { ticket } = await (await fetch(`${api}/v1/streams:ticket`, { method: "POST", headers })).json();
        const socket = new WebSocket(`${api.replace("http", "ws")}/v1/streams?ticket=${ticket}`);
        window.socket = socket;
        socket.onopen = () => {
          window.opened += 1;
          const after = window.received.at(-1)?.[0] ?? "0";
          socket.send(JSON.stringify({ channel: "runs", event: "subscribe", id: "s", payload: { project_id: project, after } }));
        };
        socket.onmessage = ({ data }) => {
          const { event, position, payload } = JSON.parse(data);
          if (event === "run.updated") window.received.push([position, payload.topic]);
        };
        socket.onclose = () => setTimeout(open, 50);
      }
      void open();
    },
    { api, token, project },
  );
  await page.waitForFunction(() => window.received.length > 0);
  console.log("following");
  await lines.next(); // the server has cut the connection
  await page.waitForFunction(() => window.opened >= 2);
  console.log("resumed");
  const { value: last } = await lines.next();
  await page.waitForFunction((position) => window.received.at(-1)?.[0] === position, last);
  console.log(JSON.stringify(await page.evaluate(() => window.received)));
} finally {
  await browser.close();
}
process.exit(0);
