// What programs for Node are made of.
const { execFileSync } = require("child_process");
const fs = require("fs/promises");
const net = require("net");
const { Worker } = require("worker_threads");

function sum(n) {
  let total = 0;
  for (let i = 0; i < n; i++) total += i;
  return total;
}

async function main() {
  const event = JSON.parse(await fs.readFile("/dev/stdin", "utf8"));
  const path = `${process.env.TMPDIR}/file`;
  await fs.writeFile(path, "text");
  let hot = 0;
  for (let i = 0; i < 50; i++) hot = sum(1000000); // Often enough to be compiled.
  const worker = await new Promise((resolve, reject) => {
    const made = new Worker("require('worker_threads').parentPort.postMessage(42)", { eval: true });
    made.once("message", resolve).once("error", reject);
  });
  const server = await new Promise((resolve, reject) => {
    const listening = net.createServer((socket) => socket.end("pong"));
    listening.listen(0, "127.0.0.1", () => {
      net.connect(listening.address().port, "127.0.0.1").once("data", (data) => {
        listening.close();
        resolve(data.toString());
      }).once("error", reject);
    });
  });
  const child = execFileSync("/bin/sh", ["-c", "echo child"]).toString().trim();
  const file = (await fs.readFile(path, "utf8")) === "text";
  console.log(JSON.stringify({ file, child, hot, server, worker, n: event.n }));
}

main();
